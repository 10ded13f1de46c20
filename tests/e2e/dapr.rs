//! The fleet on Dapr: a sidecar beside each service that uses the bus, on the components of `components/` and with the
//! settings of `deploy/components/dapr`. Sidecars die under load and come back.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, LIMIT, Load, Processes, Server, Servers, audit, eventually, given, souk};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    chaos::{one_order_a_key, settled, tell, terminal},
    mesh::file,
};

/// Who uses the bus.
const ON_THE_BUS: [&str; 6] = ["customer", "product", "order", "stock", "payment", "notification"];
/// How long the dead ones are away.
const AWAY: Duration = Duration::from_secs(4);
/// By which a service knows its sidecar.
const TOKEN: &str = "by this I know you";
/// What the annotations of a pod are as options of the program.
const OPTIONS: [(&str, &str); 6] = [
    ("max-body-size", "max-body-size"),
    ("enable-app-health-check", "enable-app-health-check"),
    ("app-health-check-path", "app-health-check-path"),
    ("log-as-json", "log-as-json"),
    ("block-shutdown-duration", "dapr-block-shutdown-duration"),
    ("graceful-shutdown-seconds", "dapr-graceful-shutdown-seconds"),
];

/// The sidecars of a fleet; killed when they are dropped.
struct Sidecars {
    program: PathBuf,
    folder: PathBuf,
    options: Vec<String>,
    /// Of each service the ports: HTTP, gRPC, and gRPC between sidecars.
    ports: BTreeMap<&'static str, [u16; 3]>,
    running: BTreeMap<&'static str, Child>,
}

/// Writes a file of the repository down with one address for another.
fn write(from: &str, to: &Path, address: Option<(&str, &str)>) -> Result<()> {
    let mut text = file(from)?;
    if let Some((old, new)) = address {
        ensure!(text.matches(old).count() == 1, "{from} names {old} once");
        text = text.replace(old, new);
    }
    Ok(std::fs::write(to, text)?)
}

impl Sidecars {
    fn new(program: PathBuf, folder: PathBuf, kafka: &str) -> Result<Self> {
        let resources = folder.join("resources");
        std::fs::create_dir_all(&resources)?;
        let broker = kafka.trim_start_matches("kafka://");
        write("components/kafka/pubsub.yaml", &resources.join("pubsub.yaml"), Some(("kafka:9092", broker)))?;
        write("components/resiliency/resiliency.yaml", &resources.join("resiliency.yaml"), None)?;
        write("deploy/components/dapr/subscription.yaml", &resources.join("subscription.yaml"), None)?;
        // Nobody collects spans there, which is no reason for anything to fail.
        let nobody = ("zipkin:9411", "127.0.0.1:9");
        write("components/configuration.yaml", &folder.join("configuration.yaml"), Some(nobody))?;
        let pod: Value = serde_yaml_ng::from_str(&file("deploy/components/dapr/sidecar.yaml")?)?;
        let annotations = &pod["spec"]["template"]["metadata"]["annotations"];
        let mut options = Vec::new();
        for (annotation, option) in OPTIONS {
            let value = annotations[format!("dapr.io/{annotation}")].as_str().context(annotation)?;
            options.push(format!("--{option}={value}"));
        }
        let mut ports = BTreeMap::new();
        for service in ON_THE_BUS {
            ports.insert(service, [testkit::free_port()?, testkit::free_port()?, testkit::free_port()?]);
        }
        Ok(Self { program, folder, options, ports, running: BTreeMap::new() })
    }

    /// The setting by which a service finds its own.
    fn setting(&self, service: &str) -> (String, String) {
        let [http, ..] = self.ports[service];
        (format!("SOUK_{}_BUS_URL", service.to_uppercase()), format!("dapr://127.0.0.1:{http}"))
    }

    fn run(&mut self, service: &'static str, app_port: u16) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join(format!("{service}.log")))?;
        let [http, grpc, internal] = self.ports[service].map(|port| port.to_string());
        let child = Command::new(&self.program)
            .args(["--mode", "standalone", "--app-id", service, "--app-port", &app_port.to_string()])
            .args(["--dapr-http-port", &http, "--dapr-grpc-port", &grpc, "--dapr-internal-grpc-port", &internal])
            .args(["--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"])
            .args(["--enable-metrics=false", "--config"])
            .arg(self.folder.join("configuration.yaml"))
            .arg("--resources-path")
            .arg(self.folder.join("resources"))
            .args(&self.options)
            .env("APP_API_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.running.insert(service, child);
        Ok(())
    }

    async fn ready(&self, service: &str) -> Result<()> {
        let own = self.client(service);
        eventually(&format!("the sidecar of {service} is ready"), || async {
            Ok(own.get("/v1.0/healthz").await.ok().filter(|answer| answer.status == 204).map(|_| ()))
        })
        .await
        .with_context(|| self.log(service))
    }

    fn client(&self, service: &str) -> Client {
        let [http, ..] = self.ports[service];
        Client::new(&format!("http://127.0.0.1:{http}"), None)
    }

    /// The end of what one has logged.
    fn log(&self, service: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(format!("{service}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers, and the Dapr sidecar by DAPRD: ./test starts them"]
async fn sidecars_that_die_under_load_lose_no_event() -> Result<()> {
    let (servers, program) = (Servers::given()?, given("DAPRD")?);
    let folder = tempfile::tempdir()?;
    // A broker of its own: the components say which names there are on it, and nobody else may have these.
    let kafka = Server::start("kafka", folder.path()).await?;
    Box::pin(fleet(folder.path(), program, &servers, &kafka.url)).await
}

async fn fleet(folder: &Path, program: PathBuf, servers: &Servers, kafka: &str) -> Result<()> {
    let data = folder.join("data");
    let mut sidecars = Sidecars::new(program, folder.join("sidecars"), kafka)?;
    // The topics, as an operator makes them: a sidecar would have the broker make them, each of one partition.
    let bus = format!("{kafka}?partitions=3&replication=1");
    souk(["dlq", "list", "--json", "--bus", &bus]).await?;
    let mut stores = servers.stores().await?;
    // The audit reads the broker itself. The services know nothing of it.
    stores.0.insert("bus".into(), bus.clone());
    let mut env: Vec<(String, String)> = ON_THE_BUS.iter().map(|service| sidecars.setting(service)).collect();
    env.push(("APP_API_TOKEN".into(), TOKEN.into()));
    let mut env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.push(LIMIT);
    let mut fleet = Processes::planned(&data, stores, &env, &[]).await?;
    let ports: BTreeMap<&str, u16> = ON_THE_BUS.iter().map(|service| (*service, fleet.ports(service)[0])).collect();
    for service in ON_THE_BUS {
        sidecars.run(service, ports[service])?;
    }
    fleet.all_up().await?;
    for service in ON_THE_BUS {
        sidecars.ready(service).await?;
    }
    let admin = fleet.client("admin").await?;
    Load::goods(&admin).await?;
    reported(&sidecars, &admin).await?;

    let load = Load::start(&admin, 6, Duration::from_millis(50));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let dead = ["order", "notification"];
    for service in dead {
        sidecars.running.remove(service).context("it runs")?.kill().await?;
    }
    tokio::time::sleep(AWAY).await;
    let waited = fleet.metric("order", 0, "outbox_depth").await;
    for service in dead {
        sidecars.run(service, ports[service])?;
    }
    for service in dead {
        sidecars.ready(service).await?;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let heard = load.stop().await?;
    let ended = Instant::now();
    terminal(&admin, Duration::from_secs(60)).await.with_context(|| fleet.log())?;
    ensure!(waited > 0.0, "nothing waited for the dead sidecar: the test shows nothing");
    let counts = one_order_a_key(&admin, &heard.answers).await?;
    empty(&fleet, &sidecars).await?;
    let told = told(&admin, &heard.answers, &sidecars).await?;
    let calm = ended.elapsed();
    let found = audit(&data).await?;
    tell(&format!(
        "dapr: {} orders, {} confirmed, {} cancelled, {} requests sent again; {waited} events waited for the dead sidecar; \
         {told} notifications; all heard {:.1} s after the load; {} events on the bus",
        heard.answers.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        heard.repeats,
        calm.as_secs_f64(),
        found.count("events are on the bus"),
    ));
    let (_, letters) = souk(["dlq", "list", "--json", "--bus", &bus]).await?;
    ensure!(letters == json!([]), "what a sidecar's death held up was given up: {letters}");
    settled(&mut fleet, &data).await.with_context(|| ON_THE_BUS.map(|service| sidecars.log(service)).join("\n---\n"))
}

/// What another program reports comes by the one Subscription that the manifests have.
async fn reported(sidecars: &Sidecars, admin: &Client) -> Result<()> {
    let order = json!({
        "order_id": "elsewhere-1", "customer_id": "42", "items": [{"product_name": "Tea", "quantity": 2, "price": 4.5}],
        "total_price": 9.0, "status": "pending", "created_at": "2026-01-02T03:04:05Z",
    });
    let taken = sidecars.client("order").post("/v1.0/publish/pubsub/reported-orders", &order).await?;
    ensure!(taken.status == 204, "{} {}", taken.status, taken.text());
    eventually("the reported order is told of", || async {
        let told = admin.get("/api/notifications?order_id=elsewhere-1").await?.expect(200)?;
        Ok((told["data"][0]["kind"] == "order.reported").then_some(()))
    })
    .await
    .with_context(|| sidecars.log("notification"))
}

/// Waits until no event waits any more.
async fn empty(fleet: &Processes, sidecars: &Sidecars) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mut waiting = 0.0;
        for service in ON_THE_BUS {
            waiting += fleet.metric(service, 0, "outbox_depth").await;
        }
        if waiting == 0.0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "{waiting} events wait\n{}", sidecars.log("order"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until every order has been told of to its end, once each: as placed, and as confirmed or cancelled.
async fn told(admin: &Client, answers: &[(String, u16, Value)], sidecars: &Sidecars) -> Result<usize> {
    let begun = Instant::now();
    loop {
        let all = admin.all("/api/notifications").await?;
        let count = |kind: &str| all.iter().filter(|told| told["kind"] == kind).count();
        let (placed, ended) = (count("order.placed"), count("order.confirmed") + count("order.cancelled"));
        if placed == answers.len() && ended == answers.len() {
            return Ok(all.len());
        }
        let much = begun.elapsed() > Duration::from_secs(60) || placed > answers.len() || ended > answers.len();
        ensure!(
            !much,
            "of {} orders {placed} were told of as placed and {ended} as ended\n{}",
            answers.len(),
            sidecars.log("notification")
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
