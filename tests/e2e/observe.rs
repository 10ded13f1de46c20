//! A fleet under load, as those see it who watch it: a real Prometheus with the configuration of `prometheus/` and the queries
//! of the dashboards in `grafana/`.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, LIMIT, Load, Processes, SERVICES, eventually, given};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{chaos::tell, separate::stores};

/// Series that are there before anything has happened: who watches sees their first increase.
const FROM_THE_START: [(&str, &str); 16] = [
    ("order", r#"saga_outcomes_total{outcome="cancelled_other"}"#),
    ("order", r#"saga_duration_seconds_count{outcome="confirmed"}"#),
    ("order", r#"sagas_open{age="older"}"#),
    ("order", "saga_begun_total"),
    ("order", "saga_takeovers_total"),
    ("order", r#"events_dead_total{group="order",topic="payments"}"#),
    ("stock", r#"stock_reservations_total{outcome="short"}"#),
    ("stock", r#"stock_expired_total{answer="released"}"#),
    ("stock", r#"stock_event_misfits_total{kind="souk.order.confirmed"}"#),
    ("payment", r#"payment_operations_total{op="refund",outcome="in_doubt"}"#),
    ("payment", r#"payment_resolved_total{settled="no"}"#),
    ("payment", r#"payment_money_minor_total{currency="EUR",way="given_back"}"#),
    ("product", r#"graphql_requests_total{field="deleteProduct",operation="mutation",outcome="failed"}"#),
    ("product", "graphql_refused_total"),
    ("notification", r#"events_consumed_total{group="notification",topic="stock"}"#),
    ("notification", r#"event_effect_seconds_count{group="notification"}"#),
];

/// Prometheus on the repository's configuration; killed when it is dropped.
struct Prometheus {
    client: Client,
    _child: Child,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The repository's configuration: of it, only what DNS would find is written down, one replica for each service.
fn configuration(fleet: &Processes) -> Result<String> {
    let text = std::fs::read_to_string(root().join("prometheus/prometheus.yml"))?;
    let mut found = 0;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let Some((_, rest)) = line.split_once("names: [") else {
                return line.replace("dns_sd_configs", "static_configs");
            };
            let name = rest.split(']').next().unwrap_or_default();
            let service = SERVICES.into_iter().find(|service| name == format!("{service}-replicas"));
            let Some(service) = service else { return line.to_owned() };
            found += 1;
            let url = fleet.replica_url(service, 0);
            let address = url.trim_start_matches("http://");
            format!(r#"      - {{ targets: ["{address}"], labels: {{ __meta_dns_name: {name} }} }}"#)
        })
        .collect();
    ensure!(found == SERVICES.len(), "{found} of {} services are looked for", SERVICES.len());
    Ok(lines.join("\n"))
}

impl Prometheus {
    async fn start(program: &Path, folder: &Path, fleet: &Processes) -> Result<Self> {
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, configuration(fleet)?)?;
        let address = format!("127.0.0.1:{}", testkit::free_port()?);
        let log = File::create(folder.join("prometheus.log"))?;
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let client = Client::new(&format!("http://{address}"), None);
        eventually("Prometheus is ready", || async {
            Ok(client.get("/-/ready").await.ok().filter(|answer| answer.status == 200).map(drop))
        })
        .await
        .with_context(|| std::fs::read_to_string(folder.join("prometheus.log")).unwrap_or_default())?;
        Ok(Self { client, _child: child })
    }

    /// The targets, each with its service and whether it is up.
    async fn targets(&self) -> Result<Vec<(String, String)>> {
        let told = self.client.get("/api/v1/targets?state=active").await?.expect(200)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let targets = told["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        Ok(targets.iter().map(|target| (text(&target["labels"]["service"]), text(&target["health"]))).collect())
    }

    /// The values that a query has now, those that are numbers.
    async fn query(&self, expression: &str) -> Result<Vec<f64>> {
        let request = self.client.request(Method::GET, "/api/v1/query").query(&[("query", expression)]);
        let told = self.client.send(request).await?.expect(200).with_context(|| expression.to_owned())?;
        ensure!(told["warnings"].is_null(), "{expression}: {}", told["warnings"]);
        let result = told["data"]["result"].as_array().cloned().unwrap_or_default();
        let number = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
        Ok(result.iter().filter_map(number).filter(|value| value.is_finite()).collect())
    }
}

/// What a dashboard asks: titles of panels, each with an expression in which its variables stand for everything.
fn queries(file: &str) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(root().join("grafana/dashboards").join(file))?;
    let dashboard: Value = serde_json::from_str(&text).with_context(|| file.to_owned())?;
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        let title = panel["title"].as_str().context("a title")?.to_owned();
        if panel["type"] == "row" {
            continue;
        }
        ensure!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title} says what to do");
        for target in panel["targets"].as_array().context("targets")? {
            ensure!(target["datasource"]["uid"] == "prometheus", "{title} asks {}", target["datasource"]);
            let expression = target["expr"].as_str().context("an expression")?;
            let expression = expression
                .replace("$service", ".*")
                .replace("$instance", ".*")
                .replace("$__rate_interval", "40s")
                .replace("$__range", "5m");
            ensure!(!expression.contains('$'), "{title}: {expression} has a variable that nobody fills in");
            found.push((title.clone(), expression));
        }
    }
    Ok(found)
}

/// Has promtool check the configuration as it stands in the repository, and the rules that it names.
async fn checked(program: &Path) -> Result<String> {
    let said = Command::new(program.with_file_name("promtool"))
        .args(["check", "config"])
        .arg(root().join("prometheus/prometheus.yml"))
        .output()
        .await?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    ensure!(said.status.success(), "{text}");
    Ok(format!("{} checks succeed", text.matches("SUCCESS").count()))
}

/// Metrics that the services show and docs/observability.md does not tell of.
async fn untold(fleet: &Processes) -> Result<Vec<String>> {
    let told = std::fs::read_to_string(root().join("docs/observability.md"))?;
    let mut untold = Vec::new();
    for service in SERVICES {
        let shown = Client::new(&fleet.replica_url(service, 0), None).get("/metrics").await?.text();
        let names = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        untold
            .extend(names.filter(|name| !told.contains(&format!("`{name}`"))).map(|name| format!("{service}: {name}")));
    }
    Ok(untold)
}

/// A little of all that a shop does beside orders.
async fn day(admin: &Client) -> Result<()> {
    for page in ["/api/products?limit=5", "/api/places", "/api/orders?limit=5", "/api/stock/levels?limit=5"] {
        admin.get(page).await?.expect(200)?;
    }
    admin.get("/api/orders/nobody-knows-it").await?.problem(404)?;
    let asked = json!({"query": "{ categories catalog(first: 3) { edges { node { id } } } }"});
    admin.post("/graphql", &asked).await?.expect(200)?;
    admin.post("/graphql", &json!({"query": "{ noSuchField }"})).await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus by SOUK_TEST_PROMETHEUS: ./test starts it"]
async fn every_target_is_up_and_every_query_of_the_dashboards_has_data() -> Result<()> {
    let program = given("SOUK_TEST_PROMETHEUS")?;
    tell(&format!("promtool: {}", checked(&program).await?));
    let folder = tempfile::tempdir()?;
    let fleet = Processes::start(folder.path(), stores().await?, &[LIMIT], &[]).await?;
    for (service, series) in FROM_THE_START {
        let client = Client::new(&fleet.replica_url(service, 0), None);
        let text = client.get("/metrics").await?.text();
        ensure!(
            text.lines().any(|line| line.starts_with(&format!("{series} "))),
            "{service} shows no {series}\n{text}"
        );
    }

    let prometheus = Prometheus::start(&program, folder.path(), &fleet).await?;
    let admin = fleet.client("admin").await?;
    Load::goods(&admin).await?;
    let load = Load::start(&admin, 4, Duration::from_millis(20));
    let up = eventually("every target is up", || async {
        let targets = prometheus.targets().await?;
        let well = targets.len() >= SERVICES.len() && targets.iter().all(|(_, health)| health == "up");
        Ok(well.then_some(targets))
    })
    .await
    .with_context(|| fleet.log())?;
    let found: BTreeSet<&str> = up.iter().map(|(service, _)| service.as_str()).collect();
    ensure!(found == BTreeSet::from(SERVICES) && up.len() == SERVICES.len(), "{up:?}");

    // Three looks at all of them, so that there are rates.
    for _ in 0..16 {
        day(&admin).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut asked = 0;
    let mut without = Vec::new();
    for file in ["fleet.json", "checkout.json"] {
        for (title, expression) in queries(file)? {
            asked += 1;
            if prometheus.query(&expression).await?.is_empty() {
                without.push(format!("{file}, {title}: {expression}"));
            }
        }
    }
    for job in ["takeover", "resolver", "expirer", "follow"] {
        let query = format!(r#"time() - job_last_success_timestamp_seconds{{exported_job="{job}"}} < 120"#);
        eventually(&format!("{job} succeeds"), || async { Ok(prometheus.query(&query).await?.first().map(|_| ())) })
            .await?;
    }
    let orders = prometheus.query(r#"sum(saga_outcomes_total{outcome="confirmed"})"#).await?;
    let built = prometheus.query("count(souk_build_info)").await?;
    let heard = load.stop().await?;
    let untold = untold(&fleet).await?;
    ensure!(untold.is_empty(), "docs/observability.md does not tell of {untold:?}");
    tell(&format!(
        "Prometheus: {} targets up; {asked} queries of two dashboards, {} without data; {orders:?} orders confirmed when last \
         looked at, {} placed; {built:?} replicas tell what they were built from",
        up.len(),
        without.len(),
        heard.answers.len(),
    ));
    ensure!(without.is_empty(), "no data:\n{}", without.join("\n"));
    Ok(())
}
