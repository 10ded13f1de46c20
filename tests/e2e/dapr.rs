//! The fleet on Dapr: each service that uses the bus has a sidecar with the components in `components/` and the settings in
//! `deploy/components/dapr`. Sidecars are killed and restarted under load.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Load, Processes, SANDBOX_LIMIT, Server, Servers, audit, eventually, path_from_env, souk};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    chaos::{check_one_order_per_key, print_result, settle_and_audit, wait_until_terminal},
    mesh::read_file,
};

/// The services that use the bus.
const BUS_SERVICES: [&str; 6] = ["customer", "product", "order", "stock", "payment", "notification"];
/// How long the killed sidecars are down.
const DOWNTIME: Duration = Duration::from_secs(4);
/// The token with which a sidecar authenticates to its service.
const TOKEN: &str = "test-app-api-token";
/// The pod annotations and the matching command-line options of `daprd`.
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
    /// The ports of each service's sidecar: HTTP, gRPC, and gRPC between sidecars.
    ports: BTreeMap<&'static str, [u16; 3]>,
    running: BTreeMap<&'static str, Child>,
}

/// Copies a file of the repository, with one address replaced.
fn copy_with_address(from: &str, to: &Path, address: Option<(&str, &str)>) -> Result<()> {
    let mut text = read_file(from)?;
    if let Some((old, new)) = address {
        ensure!(text.matches(old).count() == 1, "{from} does not contain {old} exactly once");
        text = text.replace(old, new);
    }
    Ok(std::fs::write(to, text)?)
}

impl Sidecars {
    fn new(program: PathBuf, folder: PathBuf, kafka: &str) -> Result<Self> {
        let resources = folder.join("resources");
        std::fs::create_dir_all(&resources)?;
        let broker = kafka.trim_start_matches("kafka://");
        copy_with_address(
            "components/kafka/pubsub.yaml",
            &resources.join("pubsub.yaml"),
            Some(("kafka:9092", broker)),
        )?;
        copy_with_address("components/resiliency/resiliency.yaml", &resources.join("resiliency.yaml"), None)?;
        copy_with_address("deploy/components/dapr/subscription.yaml", &resources.join("subscription.yaml"), None)?;
        // No collector listens at this address, which must not cause any failure.
        let no_collector = ("zipkin:9411", "127.0.0.1:9");
        copy_with_address("components/configuration.yaml", &folder.join("configuration.yaml"), Some(no_collector))?;
        let pod: Value = serde_yaml_ng::from_str(&read_file("deploy/components/dapr/sidecar.yaml")?)?;
        let annotations = &pod["spec"]["template"]["metadata"]["annotations"];
        let mut options = Vec::new();
        for (annotation, option) in OPTIONS {
            let value = annotations[format!("dapr.io/{annotation}")].as_str().context(annotation)?;
            options.push(format!("--{option}={value}"));
        }
        let mut ports = BTreeMap::new();
        for service in BUS_SERVICES {
            ports.insert(service, [testkit::free_port()?, testkit::free_port()?, testkit::free_port()?]);
        }
        Ok(Self { program, folder, options, ports, running: BTreeMap::new() })
    }

    /// The setting with the URL of a service's sidecar.
    fn bus_url_setting(&self, service: &str) -> (String, String) {
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

    async fn wait_until_ready(&self, service: &str) -> Result<()> {
        let client = self.client(service);
        eventually(&format!("the sidecar of {service} is ready"), || async {
            Ok(client.get("/v1.0/healthz").await.ok().filter(|response| response.status == 204).map(|_| ()))
        })
        .await
        .with_context(|| self.log(service))
    }

    fn client(&self, service: &str) -> Client {
        let [http, ..] = self.ports[service];
        Client::new(&format!("http://127.0.0.1:{http}"), None)
    }

    /// The last lines of a sidecar's log.
    fn log(&self, service: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(format!("{service}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers, and the Dapr sidecar by DAPRD: ./test starts them"]
async fn killed_sidecars_lose_no_event_under_load() -> Result<()> {
    let (servers, program) = (Servers::from_env()?, path_from_env("DAPRD")?);
    let folder = tempfile::tempdir()?;
    // A separate broker: the topic names are fixed by the components and must not collide with those of other tests.
    let kafka = Server::start("kafka", folder.path()).await?;
    Box::pin(run_fleet(folder.path(), program, &servers, &kafka.url)).await
}

async fn run_fleet(folder: &Path, program: PathBuf, servers: &Servers, kafka: &str) -> Result<()> {
    let data = folder.join("data");
    let mut sidecars = Sidecars::new(program, folder.join("sidecars"), kafka)?;
    // Creates the topics first, like an operator: a sidecar would create them with a single partition.
    let bus = format!("{kafka}?partitions=3&replication=1");
    souk(["dlq", "list", "--json", "--bus", &bus]).await?;
    let mut stores = servers.create_stores().await?;
    // The audit reads the broker directly; the services know only their sidecars.
    stores.0.insert("bus".into(), bus.clone());
    let mut env: Vec<(String, String)> = BUS_SERVICES.iter().map(|service| sidecars.bus_url_setting(service)).collect();
    env.push(("APP_API_TOKEN".into(), TOKEN.into()));
    let mut env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.push(SANDBOX_LIMIT);
    let mut fleet = Processes::create(&data, stores, &env, &[]).await?;
    let ports: BTreeMap<&str, u16> = BUS_SERVICES.iter().map(|service| (*service, fleet.ports(service)[0])).collect();
    for service in BUS_SERVICES {
        sidecars.run(service, ports[service])?;
    }
    fleet.start_all().await?;
    for service in BUS_SERVICES {
        sidecars.wait_until_ready(service).await?;
    }
    let admin = fleet.client("admin").await?;
    Load::add_products(&admin).await?;
    check_reported_order(&sidecars, &admin).await?;

    let load = Load::start(&admin, 6, Duration::from_millis(50));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let killed = ["order", "notification"];
    for service in killed {
        sidecars.running.remove(service).context("the sidecar is not running")?.kill().await?;
    }
    tokio::time::sleep(DOWNTIME).await;
    let waiting = fleet.metric("order", 0, "outbox_depth").await;
    for service in killed {
        sidecars.run(service, ports[service])?;
    }
    for service in killed {
        sidecars.wait_until_ready(service).await?;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let result = load.stop().await?;
    let ended = Instant::now();
    wait_until_terminal(&admin, Duration::from_secs(60)).await.with_context(|| fleet.log())?;
    ensure!(waiting > 0.0, "no event waited for the killed sidecar, so the test proves nothing");
    let counts = check_one_order_per_key(&admin, &result.responses).await?;
    wait_for_empty_outboxes(&fleet, &sidecars).await?;
    let notifications = wait_for_notifications(&admin, &result.responses, &sidecars).await?;
    let settle_time = ended.elapsed();
    let found = audit(&data).await?;
    print_result(&format!(
        "dapr: {} orders, {} confirmed, {} cancelled, {} requests repeated; {waiting} events waited for the killed sidecar; \
         {notifications} notifications; all events processed {:.1} s after the load; {} events on the bus",
        result.responses.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        result.repeats,
        settle_time.as_secs_f64(),
        found.count("events are on the bus"),
    ));
    let (_, letters) = souk(["dlq", "list", "--json", "--bus", &bus]).await?;
    ensure!(letters == json!([]), "events became dead letters while a sidecar was down: {letters}");
    settle_and_audit(&mut fleet, &data)
        .await
        .with_context(|| BUS_SERVICES.map(|service| sidecars.log(service)).join("\n---\n"))
}

/// Publishes an order of an external program, which the notification service receives by the Subscription in the manifests.
async fn check_reported_order(sidecars: &Sidecars, admin: &Client) -> Result<()> {
    let order = json!({
        "order_id": "elsewhere-1", "customer_id": "42", "items": [{"product_name": "Tea", "quantity": 2, "price": 4.5}],
        "total_price": 9.0, "status": "pending", "created_at": "2026-01-02T03:04:05Z",
    });
    let published = sidecars.client("order").post("/v1.0/publish/pubsub/reported-orders", &order).await?;
    ensure!(published.status == 204, "{} {}", published.status, published.text());
    eventually("the reported order has a notification", || async {
        let page = admin.get("/api/notifications?order_id=elsewhere-1").await?.expect(200)?;
        Ok((page["data"][0]["kind"] == "order.reported").then_some(()))
    })
    .await
    .with_context(|| sidecars.log("notification"))
}

/// Waits until all outboxes are empty.
async fn wait_for_empty_outboxes(fleet: &Processes, sidecars: &Sidecars) -> Result<()> {
    let started = Instant::now();
    loop {
        let mut waiting = 0.0;
        for service in BUS_SERVICES {
            waiting += fleet.metric(service, 0, "outbox_depth").await;
        }
        if waiting == 0.0 {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "{waiting} events are still in the outboxes\n{}",
            sidecars.log("order")
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until each order has exactly one notification that it was placed and one that it was confirmed or cancelled.
async fn wait_for_notifications(
    admin: &Client,
    responses: &[(String, u16, Value)],
    sidecars: &Sidecars,
) -> Result<usize> {
    let started = Instant::now();
    loop {
        let all = admin.all("/api/notifications").await?;
        let count = |kind: &str| all.iter().filter(|notification| notification["kind"] == kind).count();
        let (placed, ended) = (count("order.placed"), count("order.confirmed") + count("order.cancelled"));
        if placed == responses.len() && ended == responses.len() {
            return Ok(all.len());
        }
        let failed = started.elapsed() > Duration::from_secs(60) || placed > responses.len() || ended > responses.len();
        ensure!(
            !failed,
            "{} orders have {placed} notifications of placing and {ended} of their end\n{}",
            responses.len(),
            sidecars.log("notification")
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
