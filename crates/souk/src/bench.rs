//! `souk bench`: what a running fleet does, measured from outside.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use db::{Db, Migration, Options, query};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    out::say,
    remote::{Remote, Target},
};

/// What `souk bench` takes.
#[derive(Debug, Args)]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send orders with one line through the gateway, and wait for each until it is confirmed.
    Checkout(Checkout),
}

/// What `souk bench checkout` takes.
#[derive(Debug, Args)]
struct Checkout {
    /// Number of concurrent clients.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Duration in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    #[command(flatten)]
    target: Target,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// The figures.
#[derive(Debug, Serialize)]
struct Figures {
    concurrency: u16,
    seconds: f64,
    orders: usize,
    refused: usize,
    failed: usize,
    orders_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    sql_statements_per_order: Option<f64>,
    durable_commits_per_order: Option<f64>,
    /// From an event to its durable effect in another service.
    effects: Vec<Effect>,
    /// Single-row commits with `synchronous = FULL`, one after the other, in the same folder's file system.
    single_row_commits_per_second: f64,
    orders_per_single_row_commit: f64,
}

/// How long events took to have their effect, in one consumer group.
#[derive(Debug, Serialize)]
struct Effect {
    group: &'static str,
    events: u64,
    p50_ms: f64,
    p99_ms: f64,
}

/// The groups that an order's events have their effect in.
const GROUPS: [&str; 2] = [stock::NAME, notification::NAME];

/// Runs a bench.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let What::Checkout(checkout) = command.what;
    let remote = Remote::connect(&checkout.target).await?;
    prepare(&remote).await?;
    let commits = single_row_commits(&checkout.target.data).await?;
    let (before, effects_before) = (counters(&remote).await, effects(&remote).await);
    let begun = Instant::now();
    let runs = load(&remote, usize::from(checkout.concurrency), Duration::from_secs(checkout.seconds.into())).await;
    let seconds = begun.elapsed().as_secs_f64();
    // What the orders still cause (events, sales) belongs to their cost.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = counters(&remote).await;
    let mut figures = figures(&checkout, seconds, runs, before, after, commits)?;
    figures.effects = passed(&effects_before, &effects(&remote).await);
    print(&figures, checkout.json)
}

const PRODUCT: &str = "bench-product";

/// A product with more stock than a bench can sell.
async fn prepare(remote: &Remote) -> anyhow::Result<()> {
    let product = json!({"id": PRODUCT, "name": "Bench product", "price": 1});
    let (status, answer) = remote.post("/api/products", &product).await?;
    if !status.is_success() && status != reqwest::StatusCode::CONFLICT {
        bail!("the bench product is refused: {status} {answer}");
    }
    let stock = json!({
        "product_id": PRODUCT, "place_id": "logistics", "delta": 1_000_000, "reason": "bench",
        "id": format!("bench-{}", uuid::Uuid::new_v4()),
    });
    let (status, answer) = remote.post("/api/stock/adjustments", &stock).await?;
    if !status.is_success() {
        bail!("the bench's stock is refused: {status} {answer}");
    }
    Ok(())
}

/// What one client saw.
#[derive(Default)]
struct Run {
    milliseconds: Vec<f64>,
    refused: usize,
    failed: usize,
}

async fn load(remote: &Remote, clients: usize, span: Duration) -> Vec<Run> {
    let deadline = Instant::now() + span;
    let body: Arc<str> = json!({"lines": [{"product_id": PRODUCT, "quantity": 1}]}).to_string().into();
    let clients: Vec<_> =
        (0..clients).map(|_| tokio::spawn(client(remote.clone(), Arc::clone(&body), deadline))).collect();
    let mut runs = Vec::new();
    for client in clients {
        runs.push(client.await.unwrap_or_default());
    }
    runs
}

async fn client(remote: Remote, body: Arc<str>, deadline: Instant) -> Run {
    let mut run = Run::default();
    let url = format!("{}/api/orders", remote.gateway);
    while Instant::now() < deadline {
        let begun = Instant::now();
        let request = remote
            .http
            .post(&url)
            .bearer_auth(&remote.token)
            .header("content-type", "application/json")
            .header("idempotency-key", uuid::Uuid::new_v4().to_string())
            .body(body.to_string());
        let status = match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                // Read to its end, so that the connection is used again.
                let _ = answer.bytes().await;
                status.as_u16()
            }
            Err(_) => 0,
        };
        match status {
            201 => run.milliseconds.push(begun.elapsed().as_secs_f64() * 1_000.0),
            400..=499 => run.refused += 1,
            _ => run.failed += 1,
        }
    }
    run
}

/// Statements and commits of all services so far; `None` if their addresses are unknown.
async fn counters(remote: &Remote) -> Option<BTreeMap<&'static str, f64>> {
    let mut sums = BTreeMap::from([("db_statements_total", 0.0), ("db_commits_total", 0.0)]);
    for url in remote.services.as_object()?.values().filter_map(Value::as_str) {
        let text = remote.http.get(format!("{url}/metrics")).send().await.ok()?.text().await.ok()?;
        for (name, sum) in &mut sums {
            *sum += text.lines().filter_map(|line| line.strip_prefix(*name)?.trim().parse::<f64>().ok()).sum::<f64>();
        }
    }
    Some(sums)
}

/// A histogram: events up to each bound, in seconds, as Prometheus counts them.
type Buckets = Vec<(f64, u64)>;

/// How long events took in each group so far; without groups whose address is unknown.
async fn effects(remote: &Remote) -> Vec<Buckets> {
    let mut found = Vec::new();
    for group in GROUPS {
        let url = remote.services[group].as_str().unwrap_or_default();
        let text = match remote.http.get(format!("{url}/metrics")).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let prefix = format!("event_effect_seconds_bucket{{group=\"{group}\",le=\"");
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            Some((bound.replace("+Inf", "inf").parse().ok()?, count.parse().ok()?))
        };
        found.push(text.lines().filter_map(bucket).collect());
    }
    found
}

/// The difference between two readings.
fn passed(before: &[Buckets], after: &[Buckets]) -> Vec<Effect> {
    let groups = GROUPS.into_iter().zip(before.iter().zip(after));
    groups
        .filter_map(|(group, (before, after))| {
            let earlier = |bound: f64| before.iter().find(|(b, _)| *b == bound).map_or(0, |(_, count)| *count);
            let counts: Buckets = after.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect();
            let events = counts.last()?.1;
            let at = |share: f64| quantile(&counts, share * events as f64) * 1_000.0;
            (events > 0).then(|| Effect { group, events, p50_ms: at(0.50), p99_ms: at(0.99) })
        })
        .collect()
}

/// Where in its bucket the event of this rank lies, taking them to lie evenly, as Prometheus does.
fn quantile(counts: &Buckets, rank: f64) -> f64 {
    let (mut low, mut below) = (0.0, 0);
    for (bound, count) in counts {
        if *count as f64 >= rank && bound.is_finite() {
            let share = (rank - below as f64) / (*count - below).max(1) as f64;
            return low + (bound - low) * share;
        }
        (low, below) = (if bound.is_finite() { *bound } else { low }, *count);
    }
    low
}

fn figures(
    checkout: &Checkout,
    seconds: f64,
    runs: Vec<Run>,
    before: Option<BTreeMap<&'static str, f64>>,
    after: Option<BTreeMap<&'static str, f64>>,
    commits: f64,
) -> anyhow::Result<Figures> {
    let refused = runs.iter().map(|run| run.refused).sum();
    let failed = runs.iter().map(|run| run.failed).sum();
    let mut milliseconds: Vec<f64> = runs.into_iter().flat_map(|run| run.milliseconds).collect();
    milliseconds.sort_by(f64::total_cmp);
    let orders = milliseconds.len();
    let at = |share: f64| {
        let index = (orders as f64 * share) as usize;
        milliseconds.get(index.min(orders.saturating_sub(1))).copied()
    };
    let per_order = |name: &str| Some((after.as_ref()?.get(name)? - before.as_ref()?.get(name)?) / orders as f64);
    let orders_per_second = orders as f64 / seconds;
    Ok(Figures {
        concurrency: checkout.concurrency,
        seconds,
        orders,
        refused,
        failed,
        orders_per_second,
        p50_ms: at(0.50).context("no order was confirmed; see the fleet's log")?,
        p99_ms: at(0.99).context("no order was confirmed; see the fleet's log")?,
        sql_statements_per_order: per_order("db_statements_total"),
        durable_commits_per_order: per_order("db_commits_total"),
        single_row_commits_per_second: commits,
        orders_per_single_row_commit: orders_per_second / commits,
        effects: Vec::new(),
    })
}

/// What one writer does that commits each row for itself, for two seconds.
async fn single_row_commits(folder: &std::path::Path) -> anyhow::Result<f64> {
    const TABLE: &[Migration] = &[Migration {
        version: 1,
        name: "bench",
        sql: "create table rows (id integer primary key, text text not null)",
    }];
    const SPAN: Duration = Duration::from_secs(2);
    let folder = tempfile::tempdir_in(if folder.is_dir() { folder } else { std::path::Path::new(".") })?;
    let db =
        Db::open(&format!("sqlite:{}", folder.path().join("bench.db").display()), &Options::default(), None).await?;
    db.migrate(TABLE).await?;
    let text = "x".repeat(200);
    let begun = Instant::now();
    let mut rows = 0_u32;
    while begun.elapsed() < SPAN {
        let mut tx = db.write().await?;
        query("insert into rows (text) values ($1)").bind(text.as_str()).execute(&mut tx).await?;
        tx.commit().await?;
        rows += 1;
    }
    let rate = f64::from(rows) / begun.elapsed().as_secs_f64();
    db.close().await;
    Ok(rate)
}

fn print(figures: &Figures, json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    let known = |figure: Option<f64>| figure.map_or("not known".to_owned(), |figure| format!("{figure:.2}"));
    say!(
        "{} clients, {:.1} s: {} orders confirmed, {} refused, {} failed",
        figures.concurrency,
        figures.seconds,
        figures.orders,
        figures.refused,
        figures.failed
    );
    say!("orders per second                  {:>9.0}", figures.orders_per_second);
    say!("single-row FULL commits per second {:>9.0}", figures.single_row_commits_per_second);
    say!("orders per single-row commit       {:>9.2}", figures.orders_per_single_row_commit);
    say!("latency p50, p99 (ms)              {:>9.2} {:.2}", figures.p50_ms, figures.p99_ms);
    say!("SQL statements per order           {:>9}", known(figures.sql_statements_per_order));
    say!("durable commits per order          {:>9}", known(figures.durable_commits_per_order));
    for effect in &figures.effects {
        let Effect { group, events, p50_ms, p99_ms } = effect;
        say!(
            "events to {group:<24} {p50_ms:>9.1} {p99_ms:.1} (ms from the event to its effect, p50 and p99 of {events})"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let counts = vec![(0.01, 50), (0.02, 90), (0.05, 100), (f64::INFINITY, 100)];
        assert!((quantile(&counts, 50.0) - 0.01).abs() < 1e-9);
        assert!((quantile(&counts, 70.0) - 0.015).abs() < 1e-9);
        assert!((quantile(&counts, 99.0) - 0.047).abs() < 1e-9);
        // What is beyond the last bound is at least that.
        assert!((quantile(&vec![(0.01, 1), (f64::INFINITY, 2)], 2.0) - 0.01).abs() < 1e-9);
    }
}
