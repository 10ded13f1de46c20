//! The data plane of the mesh for real: every call of the fleet goes through Envoy, told by `tests/env/mesh/envoy.yaml` what
//! the manifests of `deploy/components/istio` tell Istio.

mod manifests;

use std::{
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Answer, Client, LIMIT, Load, Processes, Servers, eventually, given};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::chaos::{settled, tell, terminal};

/// Failures in a row by which a replica is ejected.
const FAILURES: usize = 5;

/// A file of the repository.
pub(crate) fn file(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What Envoy is told, but for addresses.
pub(crate) fn template() -> Result<Value> {
    let mut all: serde_yaml_ng::Value = serde_yaml_ng::from_str(&file("tests/env/mesh/envoy.yaml")?)?;
    all.apply_merge()?;
    let mut all: Value = serde_json::to_value(all)?;
    // Envoy refuses what it does not know, and the parts that others are made of it does not.
    all.as_object_mut().context("a mapping")?.retain(|name, _| !name.starts_with("x-"));
    Ok(all)
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// An Envoy between the services of a fleet; killed when it is dropped.
struct Envoy {
    _child: Child,
    admin: Client,
    /// Its clusters.
    names: Vec<String>,
}

impl Envoy {
    /// Puts one before each service of a fleet that does not run yet.
    async fn before(fleet: &mut Processes, program: &Path) -> Result<Self> {
        let mut told = template()?;
        for listener in told["static_resources"]["listeners"].as_array_mut().context("listeners")? {
            let port = testkit::free_port()?;
            listener["address"] = address(port);
            fleet.behind(listener["name"].as_str().context("a name")?, format!("http://127.0.0.1:{port}"));
        }
        let mut names = Vec::new();
        for cluster in told["static_resources"]["clusters"].as_array_mut().context("clusters")? {
            let name = cluster["name"].as_str().context("a name")?.to_owned();
            let replicas = fleet.ports(&name).into_iter().map(|port| json!({"endpoint": {"address": address(port)}}));
            let endpoints = json!([{"lb_endpoints": replicas.collect::<Vec<Value>>()}]);
            cluster["load_assignment"] = json!({"cluster_name": name, "endpoints": endpoints});
            names.push(name);
        }
        let admin = testkit::free_port()?;
        told["admin"]["address"] = address(admin);
        let path = fleet.data().join("envoy.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&told)?)?;
        let log = File::create(fleet.data().join("envoy.log"))?;
        let child = Command::new(program)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "--config-path"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let envoy = Self { _child: child, admin: Client::new(&format!("http://127.0.0.1:{admin}"), None), names };
        eventually("Envoy is ready", || async {
            Ok(envoy.admin.get("/ready").await.ok().filter(|answer| answer.status == 200).map(|_| ()))
        })
        .await
        .with_context(|| std::fs::read_to_string(fleet.data().join("envoy.log")).unwrap_or_default())?;
        Ok(envoy)
    }

    /// One of its counters.
    async fn count(&self, name: &str) -> Result<u64> {
        let text = self.admin.get("/stats").await?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.with_context(|| format!("no {name} in\n{text}"))?.parse()?)
    }

    /// A counter of a service's outlier detection.
    async fn ejections(&self, service: &str, what: &str) -> Result<u64> {
        self.count(&format!("cluster.{service}.outlier_detection.ejections_{what}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers, and Envoy by ENVOY: ./test starts them"]
async fn a_fleet_behind_envoy_shares_work_spares_who_fails_and_lets_no_bad_token_in() -> Result<()> {
    let (servers, program) = (Servers::given()?, given("ENVOY")?);
    let folder = tempfile::tempdir()?;
    let checks = &template()?["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let issuer = checks["http_filters"][0]["typed_config"]["providers"]["origins-0"]["issuer"].clone();
    let env = [LIMIT, ("SOUK_ISSUER", issuer.as_str().context("an issuer")?)];
    let two = [("order", 2), ("stock", 2), ("product", 2)];
    let mut fleet = Processes::planned(folder.path(), servers.stores().await?, &env, &two).await?;
    let envoy = Envoy::before(&mut fleet, &program).await?;
    fleet.all_up().await?;

    let nobody = Client::new(&fleet.url("gateway"), None);
    let who = json!({"username": "admin", "password": fleet.passwords["admin"]});
    let login = nobody.post("/api/users/login", &who).await?.expect(200)?;
    let admin = nobody.with_token(login["token"].as_str().context("a token")?);
    Load::goods(&admin).await?;
    journey(&admin, &nobody).await?;
    tokens(&envoy, &admin, &nobody).await?;
    let mine = admin.all("/api/orders").await?.len();
    let load = Load::start(&admin, 8, Duration::from_millis(10));
    let shares = shares(&fleet).await?;
    let heard = load.stop().await?;
    tell(&format!(
        "mesh: {} orders, sent again: {:?}; requests of the two replicas: {shares}",
        heard.answers.len(),
        heard.reasons
    ));

    let more = once(&mut fleet, &envoy, &admin).await?;
    again(&mut fleet, &envoy).await?;
    for service in ["order", "product"] {
        back(&mut fleet, &envoy, service).await?;
    }
    for name in &envoy.names {
        ensure!(envoy.count(&format!("cluster.{name}.upstream_rq_total")).await? > 0, "nobody called {name} by Envoy");
    }
    terminal(&admin, Duration::from_secs(60)).await?;
    ensure!(
        mine + heard.answers.len() + more == admin.all("/api/orders").await?.len(),
        "an order was made twice, or never"
    );
    settled(&mut fleet, folder.path()).await
}

/// What a customer does: registers, orders, cancels, gives something back.
async fn journey(admin: &Client, nobody: &Client) -> Result<()> {
    let (customer, _) = nobody.register("mesh").await?;
    let body = json!({"lines": [{"product_id": "PLENTY", "quantity": 2}]});
    for (n, then) in ["cancel", "returns"].into_iter().enumerate() {
        let order = customer.post_once("/api/orders", &format!("mesh-{n}"), &body).await?.expect(201)?;
        ensure!(order["state"] == "CONFIRMED", "{order}");
        let path = format!("/api/orders/{}", order["id"].as_str().context("an id")?);
        eventually("the goods are sold", || async {
            Ok((admin.level("PLENTY", "logistics").await?.1 == 0).then_some(()))
        })
        .await?;
        if then == "cancel" {
            let gone = customer.post(&format!("{path}/cancel"), &json!({"reason": "changed my mind"})).await?;
            ensure!(gone.expect(200)?["status"] == "cancelled");
        } else {
            let back = json!({"lines": [{"line_id": "1", "quantity": 1}], "restock": true});
            ensure!(customer.post(&format!("{path}/returns"), &back).await?.expect(201)?["refund"]["status"] == "done");
        }
    }
    Ok(())
}

/// Whether it was Envoy that refused a token, and not a service.
fn refused_by_envoy(answer: &Answer, why: &str) -> Result<()> {
    let text = answer.text();
    ensure!(answer.status == 401 && text.contains(why), "{} {text} instead of {why}", answer.status);
    ensure!(
        answer.header("server") == "envoy" && answer.header("content-type") == "text/plain",
        "{:?}",
        answer.headers
    );
    ensure!(answer.header("www-authenticate").contains("invalid_token"), "{:?}", answer.headers);
    Ok(())
}

/// A bad token ends at the edge; a good one passes, and so does who has none.
async fn tokens(envoy: &Envoy, admin: &Client, nobody: &Client) -> Result<()> {
    let before = envoy.count("http.gateway.jwt_authn.denied").await?;
    let (signed, signature) = admin.token().rsplit_once('.').context("a token")?;
    // The middle of it: the last character has bits that mean nothing.
    let (left, right) = signature.split_at(signature.len() / 2);
    let other = if right.starts_with('A') { "B" } else { "A" };
    let bent = format!("{signed}.{left}{other}{}", &right[1..]);
    refused_by_envoy(&nobody.with_token(&bent).get("/api/products").await?, "Jwt verification fails")?;
    let stranger = auth::Issuer::generate("http://elsewhere")?;
    let new = auth::NewToken {
        subject: "me".into(),
        roles: vec![auth::Role::Admin],
        stores: Vec::new(),
        customer_id: None,
        ttl_seconds: 600,
    };
    let foreign = stranger.issue(new)?;
    refused_by_envoy(&nobody.with_token(&foreign.token).get("/api/products").await?, "Jwt issuer is not configured")?;
    ensure!(envoy.count("http.gateway.jwt_authn.denied").await? == before + 2, "Envoy counts whom it refused");
    ensure!(envoy.count("http.gateway.jwt_authn.jwks_fetch_success").await? > 0, "it has the keys from the service");
    admin.get("/api/users/me").await?.expect(200)?;
    nobody.get("/api/products").await?.expect(200)?;
    // The service still decides what is open to everybody.
    nobody.get("/api/users/me").await?.problem(401)?;
    Ok(())
}

/// Both replicas of each have about a half of what comes under load.
async fn shares(fleet: &Processes) -> Result<String> {
    const ASKED: [(&str, &str); 3] =
        [("order", "http_requests_total"), ("product", "http_requests_total"), ("stock", "grpc_requests_total")];
    let asked = async |service, name| [fleet.metric(service, 0, name).await, fleet.metric(service, 1, name).await];
    let mut before = Vec::new();
    for (service, name) in ASKED {
        before.push(asked(service, name).await);
    }
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (mut told, mut enough, mut fair) = (Vec::new(), true, true);
        for ((service, name), before) in ASKED.into_iter().zip(&before) {
            let now = asked(service, name).await;
            let (first, second) = (now[0] - before[0], now[1] - before[1]);
            enough &= first + second >= 100.0;
            fair &= (0.3..0.7).contains(&(first / (first + second)));
            told.push(format!("{service} {first} and {second}"));
        }
        if enough {
            ensure!(fair, "the replicas do not share the work: {told:?}");
            return Ok(told.join(", "));
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "little comes through: {told:?}");
    }
}

/// A replica of orders dies. What went to it fails, since the mesh repeats nothing there, but not more often than it takes to
/// eject it; then nothing fails.
async fn once(fleet: &mut Processes, envoy: &Envoy, admin: &Client) -> Result<usize> {
    fleet.kill("order", 1).await?;
    let door = Client::new(&fleet.url("order"), None);
    let (begun, mut failed) = (Instant::now(), 0);
    while envoy.ejections("order", "active").await? == 0 {
        let answer = door.get("/health").await?;
        ensure!(answer.status == 200 || answer.status == 503, "{} {}", answer.status, answer.text());
        failed += usize::from(answer.status == 503);
        ensure!(begun.elapsed() < Duration::from_secs(20), "nobody is ejected after {failed} failures");
    }
    ensure!((1..=FAILURES).contains(&failed), "{failed} failed before the replica was ejected");
    let (ejected, mut served) = (Instant::now(), 0);
    // The gateway may have met it as well; it looks again every second.
    eventually("the gateway finds orders well", || async {
        Ok((admin.get("/api/orders?limit=1").await?.status == 200).then_some(()))
    })
    .await?;
    // Until the dead one may be let in again, as a trial.
    let alone = || ejected.elapsed() < Duration::from_secs(8);
    let mut orders = 0;
    while orders < 5 && alone() {
        let body = json!({"lines": [{"product_id": "PLENTY", "quantity": 1}]});
        admin.post_once("/api/orders", &format!("one-left-{orders}"), &body).await?.expect(201)?;
        orders += 1;
    }
    while alone() {
        door.get("/health").await?.expect(200)?;
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(orders > 0 && served > 0 && envoy.ejections("order", "enforced_total").await? > 0);
    tell(&format!(
        "mesh: order: {failed} failed before the dead replica was ejected, then none of {orders} orders and {served} other calls"
    ));
    Ok(orders)
}

/// A replica of the catalogue dies. Calls that do not reach it go to the other, so nobody sees anything of it.
async fn again(fleet: &mut Processes, envoy: &Envoy) -> Result<()> {
    fleet.kill("product", 1).await?;
    let door = Client::new(&fleet.url("product"), None);
    for _ in 0..60 {
        door.get("/health").await?.expect(200)?;
    }
    let repeated = envoy.count("cluster.product.upstream_rq_retry_success").await?;
    ensure!(repeated > 0 && envoy.ejections("product", "enforced_total").await? > 0, "{repeated} repeated");
    tell(&format!("mesh: product: none of 60 failed, {repeated} were repeated by Envoy"));
    Ok(())
}

/// A replica that is back gets its share again when its time is over.
async fn back(fleet: &mut Processes, envoy: &Envoy, service: &'static str) -> Result<()> {
    fleet.run(service, 1)?;
    fleet.ready(service, 1).await?;
    let begun = Instant::now();
    while envoy.ejections(service, "active").await? > 0 {
        ensure!(begun.elapsed() < Duration::from_secs(90), "{service} 1 is well and still left out");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = fleet.metric(service, 1, "http_requests_total").await;
    let door = Client::new(&fleet.url(service), None);
    for _ in 0..60 {
        door.get("/health").await?.expect(200)?;
    }
    let served = fleet.metric(service, 1, "http_requests_total").await - before;
    ensure!(served >= 15.0, "{service} 1 is back and served {served} of 60");
    tell(&format!("mesh: {service}: back after {:.0} s, served {served} of 60", begun.elapsed().as_secs_f64()));
    Ok(())
}
