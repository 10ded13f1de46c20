//! The data plane of the mesh: every call of the fleet goes through a real Envoy. Its configuration `tests/env/mesh/envoy.yaml`
//! corresponds to the Istio manifests in `deploy/components/istio`.

mod manifests;

use std::{
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Load, Processes, Response, SANDBOX_LIMIT, Servers, eventually, path_from_env};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::chaos::{print_result, settle_and_audit, wait_until_terminal};

/// The number of consecutive failures after which a replica is ejected.
const EJECTION_THRESHOLD: usize = 5;

/// Reads a file of the repository.
pub(crate) fn read_file(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The configuration of Envoy, without addresses.
pub(crate) fn template() -> Result<Value> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read_file("tests/env/mesh/envoy.yaml")?)?;
    yaml.apply_merge()?;
    let mut configuration: Value = serde_json::to_value(yaml)?;
    // Envoy refuses unknown fields, such as the `x-` fields that only hold YAML anchors.
    configuration.as_object_mut().context("a mapping")?.retain(|name, _| !name.starts_with("x-"));
    Ok(configuration)
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// An Envoy between the services of a fleet; killed when dropped.
struct Envoy {
    _child: Child,
    admin: Client,
    /// The names of its clusters.
    clusters: Vec<String>,
}

impl Envoy {
    /// Starts Envoy, and makes it the URL of each service of a fleet whose processes are not started yet.
    async fn start(fleet: &mut Processes, program: &Path) -> Result<Self> {
        let mut configuration = template()?;
        for listener in configuration["static_resources"]["listeners"].as_array_mut().context("listeners")? {
            let port = testkit::free_port()?;
            listener["address"] = address(port);
            fleet.override_url(listener["name"].as_str().context("a name")?, format!("http://127.0.0.1:{port}"));
        }
        let mut clusters = Vec::new();
        for cluster in configuration["static_resources"]["clusters"].as_array_mut().context("clusters")? {
            let name = cluster["name"].as_str().context("a name")?.to_owned();
            let replicas = fleet.ports(&name).into_iter().map(|port| json!({"endpoint": {"address": address(port)}}));
            let endpoints = json!([{"lb_endpoints": replicas.collect::<Vec<Value>>()}]);
            cluster["load_assignment"] = json!({"cluster_name": name, "endpoints": endpoints});
            clusters.push(name);
        }
        let admin = testkit::free_port()?;
        configuration["admin"]["address"] = address(admin);
        let path = fleet.data().join("envoy.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&configuration)?)?;
        let log = File::create(fleet.data().join("envoy.log"))?;
        let child = Command::new(program)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "--config-path"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let envoy = Self { _child: child, admin: Client::new(&format!("http://127.0.0.1:{admin}"), None), clusters };
        eventually("Envoy is ready", || async {
            Ok(envoy.admin.get("/ready").await.ok().filter(|response| response.status == 200).map(|_| ()))
        })
        .await
        .with_context(|| std::fs::read_to_string(fleet.data().join("envoy.log")).unwrap_or_default())?;
        Ok(envoy)
    }

    /// The value of one of Envoy's counters.
    async fn counter(&self, name: &str) -> Result<u64> {
        let text = self.admin.get("/stats").await?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.with_context(|| format!("no {name} in\n{text}"))?.parse()?)
    }

    /// A counter of a service's outlier detection.
    async fn ejections(&self, service: &str, what: &str) -> Result<u64> {
        self.counter(&format!("cluster.{service}.outlier_detection.ejections_{what}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers, and Envoy by ENVOY: ./test starts them"]
async fn a_fleet_behind_envoy_balances_load_ejects_failing_replicas_and_refuses_bad_tokens() -> Result<()> {
    let (servers, program) = (Servers::from_env()?, path_from_env("ENVOY")?);
    let folder = tempfile::tempdir()?;
    let checks = &template()?["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let issuer = checks["http_filters"][0]["typed_config"]["providers"]["origins-0"]["issuer"].clone();
    let env = [SANDBOX_LIMIT, ("SOUK_ISSUER", issuer.as_str().context("an issuer")?)];
    let two = [("order", 2), ("stock", 2), ("product", 2)];
    let mut fleet = Processes::create(folder.path(), servers.create_stores().await?, &env, &two).await?;
    let envoy = Envoy::start(&mut fleet, &program).await?;
    fleet.start_all().await?;

    let anonymous = Client::new(&fleet.url("gateway"), None);
    let credentials = json!({"username": "admin", "password": fleet.passwords["admin"]});
    let login = anonymous.post("/api/users/login", &credentials).await?.expect(200)?;
    let admin = anonymous.with_token(login["token"].as_str().context("a token")?);
    Load::add_products(&admin).await?;
    check_journey(&admin, &anonymous).await?;
    check_tokens(&envoy, &admin, &anonymous).await?;
    let orders_before = admin.all("/api/orders").await?.len();
    let load = Load::start(&admin, 8, Duration::from_millis(10));
    let shares = check_load_balancing(&fleet).await?;
    let result = load.stop().await?;
    print_result(&format!(
        "mesh: {} orders, repeated requests: {:?}; requests of the two replicas: {shares}",
        result.responses.len(),
        result.reasons
    ));

    let more = check_ejection(&mut fleet, &envoy, &admin).await?;
    check_retries(&mut fleet, &envoy).await?;
    for service in ["order", "product"] {
        check_readmission(&mut fleet, &envoy, service).await?;
    }
    for name in &envoy.clusters {
        ensure!(
            envoy.counter(&format!("cluster.{name}.upstream_rq_total")).await? > 0,
            "no call of {name} went through Envoy"
        );
    }
    wait_until_terminal(&admin, Duration::from_secs(60)).await?;
    ensure!(
        orders_before + result.responses.len() + more == admin.all("/api/orders").await?.len(),
        "an order was created twice, or not at all"
    );
    settle_and_audit(&mut fleet, folder.path()).await
}

/// Registers a customer, places orders, cancels one and returns a piece of another.
async fn check_journey(admin: &Client, anonymous: &Client) -> Result<()> {
    let (customer, _) = anonymous.register("mesh").await?;
    let body = json!({"lines": [{"product_id": "PLENTY", "quantity": 2}]});
    for (n, then) in ["cancel", "returns"].into_iter().enumerate() {
        let order = customer.post_once("/api/orders", &format!("mesh-{n}"), &body).await?.expect(201)?;
        ensure!(order["state"] == "CONFIRMED", "{order}");
        let path = format!("/api/orders/{}", order["id"].as_str().context("an id")?);
        eventually("the pieces are sold", || async {
            Ok((admin.level("PLENTY", "logistics").await?.1 == 0).then_some(()))
        })
        .await?;
        if then == "cancel" {
            let cancelled = customer.post(&format!("{path}/cancel"), &json!({"reason": "changed my mind"})).await?;
            ensure!(cancelled.expect(200)?["status"] == "cancelled");
        } else {
            let return_request = json!({"lines": [{"line_id": "1", "quantity": 1}], "restock": true});
            ensure!(
                customer.post(&format!("{path}/returns"), &return_request).await?.expect(201)?["refund"]["status"]
                    == "done"
            );
        }
    }
    Ok(())
}

/// Checks that Envoy refused a token, and not a service.
fn check_refused_by_envoy(response: &Response, why: &str) -> Result<()> {
    let text = response.text();
    ensure!(response.status == 401 && text.contains(why), "{} {text} instead of {why}", response.status);
    ensure!(
        response.header("server") == "envoy" && response.header("content-type") == "text/plain",
        "{:?}",
        response.headers
    );
    ensure!(response.header("www-authenticate").contains("invalid_token"), "{:?}", response.headers);
    Ok(())
}

/// Envoy refuses a bad token at the edge; it lets a valid token and a request without a token pass.
async fn check_tokens(envoy: &Envoy, admin: &Client, anonymous: &Client) -> Result<()> {
    let before = envoy.counter("http.gateway.jwt_authn.denied").await?;
    let (signed, signature) = admin.token().rsplit_once('.').context("a token")?;
    // Changes a character in the middle: the last character has unused bits.
    let (left, right) = signature.split_at(signature.len() / 2);
    let other = if right.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{left}{other}{}", &right[1..]);
    check_refused_by_envoy(&anonymous.with_token(&forged).get("/api/products").await?, "Jwt verification fails")?;
    let stranger = auth::Issuer::generate("http://elsewhere")?;
    let new = auth::NewToken {
        subject: "me".into(),
        roles: vec![auth::Role::Admin],
        stores: Vec::new(),
        customer_id: None,
        ttl_seconds: 600,
    };
    let foreign = stranger.issue(new)?;
    check_refused_by_envoy(
        &anonymous.with_token(&foreign.token).get("/api/products").await?,
        "Jwt issuer is not configured",
    )?;
    ensure!(
        envoy.counter("http.gateway.jwt_authn.denied").await? == before + 2,
        "Envoy did not count the refused requests"
    );
    ensure!(
        envoy.counter("http.gateway.jwt_authn.jwks_fetch_success").await? > 0,
        "Envoy did not fetch the keys from the service"
    );
    admin.get("/api/users/me").await?.expect(200)?;
    anonymous.get("/api/products").await?.expect(200)?;
    // Without a token the service decides which routes are public.
    anonymous.get("/api/users/me").await?.problem(401)?;
    Ok(())
}

/// Under load, each of two replicas gets about half of the requests.
async fn check_load_balancing(fleet: &Processes) -> Result<String> {
    const METRICS: [(&str, &str); 3] =
        [("order", "http_requests_total"), ("product", "http_requests_total"), ("stock", "grpc_requests_total")];
    let values = async |service, name| [fleet.metric(service, 0, name).await, fleet.metric(service, 1, name).await];
    let mut before = Vec::new();
    for (service, name) in METRICS {
        before.push(values(service, name).await);
    }
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (mut shares, mut enough, mut fair) = (Vec::new(), true, true);
        for ((service, name), before) in METRICS.into_iter().zip(&before) {
            let now = values(service, name).await;
            let (first, second) = (now[0] - before[0], now[1] - before[1]);
            enough &= first + second >= 100.0;
            fair &= (0.3..0.7).contains(&(first / (first + second)));
            shares.push(format!("{service} {first} and {second}"));
        }
        if enough {
            ensure!(fair, "the load is not balanced: {shares:?}");
            return Ok(shares.join(", "));
        }
        ensure!(started.elapsed() < Duration::from_secs(60), "too few requests: {shares:?}");
    }
}

/// Kills a replica of the order service. Requests to it fail, since the mesh does not retry them, but no more often than it takes
/// to eject the replica; after that no request fails.
async fn check_ejection(fleet: &mut Processes, envoy: &Envoy, admin: &Client) -> Result<usize> {
    fleet.kill("order", 1).await?;
    let client = Client::new(&fleet.url("order"), None);
    let (started, mut failed) = (Instant::now(), 0);
    while envoy.ejections("order", "active").await? == 0 {
        let response = client.get("/health").await?;
        ensure!(response.status == 200 || response.status == 503, "{} {}", response.status, response.text());
        failed += usize::from(response.status == 503);
        ensure!(started.elapsed() < Duration::from_secs(20), "no replica is ejected after {failed} failures");
    }
    ensure!((1..=EJECTION_THRESHOLD).contains(&failed), "{failed} failed before the replica was ejected");
    let (ejected, mut served) = (Instant::now(), 0);
    // The gateway may have seen a failure as well; it checks the service again every second.
    eventually("the gateway considers the order service healthy", || async {
        Ok((admin.get("/api/orders?limit=1").await?.status == 200).then_some(()))
    })
    .await?;
    // Until Envoy may try the killed replica again.
    let still_ejected = || ejected.elapsed() < Duration::from_secs(8);
    let mut orders = 0;
    while orders < 5 && still_ejected() {
        let body = json!({"lines": [{"product_id": "PLENTY", "quantity": 1}]});
        admin.post_once("/api/orders", &format!("one-left-{orders}"), &body).await?.expect(201)?;
        orders += 1;
    }
    while still_ejected() {
        client.get("/health").await?.expect(200)?;
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(orders > 0 && served > 0 && envoy.ejections("order", "enforced_total").await? > 0);
    print_result(&format!(
        "mesh: order: {failed} failed before the killed replica was ejected, then none of {orders} orders and {served} other calls"
    ));
    Ok(orders)
}

/// Kills a replica of the product service. Envoy retries its calls at the other replica, so no call fails.
async fn check_retries(fleet: &mut Processes, envoy: &Envoy) -> Result<()> {
    fleet.kill("product", 1).await?;
    let client = Client::new(&fleet.url("product"), None);
    for _ in 0..60 {
        client.get("/health").await?.expect(200)?;
    }
    let retried = envoy.counter("cluster.product.upstream_rq_retry_success").await?;
    ensure!(retried > 0 && envoy.ejections("product", "enforced_total").await? > 0, "{retried} retried");
    print_result(&format!("mesh: product: none of 60 failed, {retried} were retried by Envoy"));
    Ok(())
}

/// Starts a killed replica again. After its ejection time it gets its share of the requests again.
async fn check_readmission(fleet: &mut Processes, envoy: &Envoy, service: &'static str) -> Result<()> {
    fleet.run(service, 1)?;
    fleet.wait_until_ready(service, 1).await?;
    let started = Instant::now();
    while envoy.ejections(service, "active").await? > 0 {
        ensure!(started.elapsed() < Duration::from_secs(90), "{service} 1 is ready but still ejected");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = fleet.metric(service, 1, "http_requests_total").await;
    let client = Client::new(&fleet.url(service), None);
    for _ in 0..60 {
        client.get("/health").await?.expect(200)?;
    }
    let served = fleet.metric(service, 1, "http_requests_total").await - before;
    ensure!(served >= 15.0, "{service} 1 is readmitted but served only {served} of 60");
    print_result(&format!(
        "mesh: {service}: readmitted after {:.0} s, served {served} of 60",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}
