//! `souk audit --watch` beside a fleet under load: no false alarm, and an alarm where there is a fault.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Load, SANDBOX_LIMIT, command, eventually, free_port};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::stores::{self, Change};

/// How often the fleet is audited under load.
const AUDITS: f64 = 6.0;

/// Another name of a line of one order, and its own again.
const STOLEN: &str = "update order_lines set name = 'stolen' where name = 'wrapping'
     and order_id in (select min(order_id) from order_lines where name = 'wrapping')";
const GIVEN_BACK: &str = "update order_lines set name = 'wrapping' where name = 'stolen'";
/// One piece more of what is sold all the time, so that no two audits see the same numbers.
const ADDED: &str = "update levels set on_hand = on_hand + 1 where product_id = 'PLENTY'";

/// The value of a metric, summed over its labels.
fn sum(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

async fn scrape(watch: &Client) -> Result<String> {
    Ok(watch.get("/metrics").await?.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_fleet_is_clean_under_load_until_something_is_broken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[SANDBOX_LIMIT]).await?;
    Load::add_products(&fleet.client("admin")).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut process = command(["audit", "--watch", "--every", "1", "--metrics", &address, "--data"])?
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(process.stdout.take().context("stdout")?).lines();
    ensure!(lines.next_line().await?.is_some_and(|line| line.starts_with("auditing every 1 s")));
    let watch = Client::new(&format!("http://{address}"), None);

    let load = Load::start(&fleet.client("admin"), 4, Duration::ZERO);
    eventually("some audits", || async {
        let runs = sum(&scrape(&watch).await?, "audit_runs_total");
        Ok((runs >= AUDITS).then_some(()))
    })
    .await?;
    let text = scrape(&watch).await?;
    ensure!(sum(&text, "audit_violations") == 0.0, "{text}");
    ensure!(lines.next_line().await?.is_some_and(|line| line.ends_with(" clean")));

    change(folder.path(), "order", STOLEN).await?;
    eventually("the alarm", || async { Ok((violations(&watch).await? > 0.0).then_some(())) }).await?;
    ensure!(lines.next_line().await?.is_some_and(|line| line.contains("NOT CLEAN")));
    ensure!(lines.next_line().await?.is_some_and(|line| line.contains("stolen")));
    change(folder.path(), "order", GIVEN_BACK).await?;
    eventually("its end", || async { Ok((violations(&watch).await? == 0.0).then_some(())) }).await?;
    ensure!(lines.next_line().await?.is_some_and(|line| line.ends_with(" clean")));
    change(folder.path(), "stock", ADDED).await?;
    eventually("another alarm", || async { Ok((violations(&watch).await? > 0.0).then_some(())) }).await?;
    ensure!(lines.next_line().await?.is_some_and(|line| line.contains("NOT CLEAN")));
    ensure!(lines.next_line().await?.is_some_and(|line| line.contains("PLENTY at logistics")));
    let done = load.stop().await?;
    ensure!(done.responses.len() > 50, "only {} orders", done.responses.len());
    ensure!(sum(&scrape(&watch).await?, "audit_checked") > 100.0);
    process.kill().await?;
    fleet.terminate().await
}

async fn violations(watch: &Client) -> Result<f64> {
    Ok(sum(&scrape(watch).await?, "audit_violations"))
}

async fn change(data: &Path, service: &str, text: &'static str) -> Result<()> {
    stores::change(data, service, Change::Sql(text)).await
}
