//! Monitoring of a fleet under load: a real Prometheus with the configuration in `prometheus/`, and the queries of the dashboards
//! in `grafana/`.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Load, Processes, SANDBOX_LIMIT, SERVICES, eventually, path_from_env};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{chaos::print_result, separate::create_stores};

/// Series that must exist from the start, so that their first increase is visible.
const INITIAL_SERIES: [(&str, &str); 16] = [
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

/// Prometheus with the repository's configuration; killed when dropped.
struct Prometheus {
    client: Client,
    _child: Child,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The repository's configuration, with static targets (one replica of each service) instead of DNS names.
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
    ensure!(found == SERVICES.len(), "the configuration has {found} of {} services", SERVICES.len());
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
            Ok(client.get("/-/ready").await.ok().filter(|response| response.status == 200).map(drop))
        })
        .await
        .with_context(|| std::fs::read_to_string(folder.join("prometheus.log")).unwrap_or_default())?;
        Ok(Self { client, _child: child })
    }

    /// The targets, each with its service and its health.
    async fn targets(&self) -> Result<Vec<(String, String)>> {
        let response = self.client.get("/api/v1/targets?state=active").await?.expect(200)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let targets = response["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        Ok(targets.iter().map(|target| (text(&target["labels"]["service"]), text(&target["health"]))).collect())
    }

    /// The current finite values of a query.
    async fn query(&self, expression: &str) -> Result<Vec<f64>> {
        let request = self.client.request(Method::GET, "/api/v1/query").query(&[("query", expression)]);
        let response = self.client.send(request).await?.expect(200).with_context(|| expression.to_owned())?;
        ensure!(response["warnings"].is_null(), "{expression}: {}", response["warnings"]);
        let result = response["data"]["result"].as_array().cloned().unwrap_or_default();
        let number = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
        Ok(result.iter().filter_map(number).filter(|value| value.is_finite()).collect())
    }
}

/// The queries of a dashboard: the panel's title and the expression, with variables replaced so that they match everything.
fn queries(file: &str) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(root().join("grafana/dashboards").join(file))?;
    let dashboard: Value = serde_json::from_str(&text).with_context(|| file.to_owned())?;
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        let title = panel["title"].as_str().context("a title")?.to_owned();
        if panel["type"] == "row" {
            continue;
        }
        ensure!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title} has no description");
        for target in panel["targets"].as_array().context("targets")? {
            ensure!(
                target["datasource"]["uid"] == "prometheus",
                "{title} uses the data source {}",
                target["datasource"]
            );
            let expression = target["expr"].as_str().context("an expression")?;
            let expression = expression
                .replace("$service", ".*")
                .replace("$instance", ".*")
                .replace("$__rate_interval", "40s")
                .replace("$__range", "5m");
            ensure!(!expression.contains('$'), "{title}: {expression} has an unknown variable");
            found.push((title.clone(), expression));
        }
    }
    Ok(found)
}

/// Checks the repository's configuration and its rules with promtool.
async fn check_configuration(program: &Path) -> Result<String> {
    let output = Command::new(program.with_file_name("promtool"))
        .args(["check", "config"])
        .arg(root().join("prometheus/prometheus.yml"))
        .output()
        .await?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{text}");
    Ok(format!("{} checks succeed", text.matches("SUCCESS").count()))
}

/// Metrics of the services that docs/observability.md does not describe.
async fn undocumented_metrics(fleet: &Processes) -> Result<Vec<String>> {
    let manual = std::fs::read_to_string(root().join("docs/observability.md"))?;
    let mut undocumented = Vec::new();
    for service in SERVICES {
        let metrics = Client::new(&fleet.replica_url(service, 0), None).get("/metrics").await?.text();
        let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        undocumented.extend(
            names.filter(|name| !manual.contains(&format!("`{name}`"))).map(|name| format!("{service}: {name}")),
        );
    }
    Ok(undocumented)
}

/// Sends other requests than orders, so that their metrics have values.
async fn send_other_requests(admin: &Client) -> Result<()> {
    for page in ["/api/products?limit=5", "/api/places", "/api/orders?limit=5", "/api/stock/levels?limit=5"] {
        admin.get(page).await?.expect(200)?;
    }
    admin.get("/api/orders/nobody-knows-it").await?.problem(404)?;
    let query = json!({"query": "{ categories catalog(first: 3) { edges { node { id } } } }"});
    admin.post("/graphql", &query).await?.expect(200)?;
    admin.post("/graphql", &json!({"query": "{ noSuchField }"})).await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus by SOUK_TEST_PROMETHEUS: ./test starts it"]
async fn every_target_is_up_and_every_query_of_the_dashboards_has_data() -> Result<()> {
    let program = path_from_env("SOUK_TEST_PROMETHEUS")?;
    print_result(&format!("promtool: {}", check_configuration(&program).await?));
    let folder = tempfile::tempdir()?;
    let fleet = Processes::start(folder.path(), create_stores().await?, &[SANDBOX_LIMIT], &[]).await?;
    for (service, series) in INITIAL_SERIES {
        let client = Client::new(&fleet.replica_url(service, 0), None);
        let text = client.get("/metrics").await?.text();
        ensure!(
            text.lines().any(|line| line.starts_with(&format!("{series} "))),
            "{service} has no metric {series}\n{text}"
        );
    }

    let prometheus = Prometheus::start(&program, folder.path(), &fleet).await?;
    let admin = fleet.client("admin").await?;
    Load::add_products(&admin).await?;
    let load = Load::start(&admin, 4, Duration::from_millis(20));
    let up = eventually("every target is up", || async {
        let targets = prometheus.targets().await?;
        let all_up = targets.len() >= SERVICES.len() && targets.iter().all(|(_, health)| health == "up");
        Ok(all_up.then_some(targets))
    })
    .await
    .with_context(|| fleet.log())?;
    let found: BTreeSet<&str> = up.iter().map(|(service, _)| service.as_str()).collect();
    ensure!(found == BTreeSet::from(SERVICES) && up.len() == SERVICES.len(), "{up:?}");

    // Long enough for three scrapes of every target, so that rates have values.
    for _ in 0..16 {
        send_other_requests(&admin).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut query_count = 0;
    let mut without_data = Vec::new();
    for file in ["fleet.json", "checkout.json"] {
        for (title, expression) in queries(file)? {
            query_count += 1;
            if prometheus.query(&expression).await?.is_empty() {
                without_data.push(format!("{file}, {title}: {expression}"));
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
    let result = load.stop().await?;
    let undocumented = undocumented_metrics(&fleet).await?;
    ensure!(undocumented.is_empty(), "docs/observability.md does not describe {undocumented:?}");
    print_result(&format!(
        "Prometheus: {} targets up; {query_count} queries of two dashboards, {} without data; {orders:?} orders confirmed at the \
         last scrape, {} placed; {built:?} replicas have build information",
        up.len(),
        without_data.len(),
        result.responses.len(),
    ));
    ensure!(without_data.is_empty(), "no data:\n{}", without_data.join("\n"));
    Ok(())
}
