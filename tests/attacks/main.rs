//! Floods by strangers, each for some seconds beside honest customers, who must not notice.
//!
//! `cargo nextest run -p fleet-tests --test attacks --no-capture` prints a table: attack, honest orders and how long they took, the
//! slowest answer of `/health`, memory, verdict.

mod floods;
mod honest;

use std::{io::Write as _, time::Duration};

use anyhow::{Result, ensure};
use fleet_tests::{Fleet, Load, drain_and_audit};

/// How long each attack lasts.
const LASTS: Duration = Duration::from_secs(8);
/// Within this 99 of 100 orders must be answered, and `/health` always: the time-out of a probe. A debug build takes longer.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 1 });
/// What an attack may add to the memory of the whole fleet, in MiB.
const MEMORY: u64 = 150;

#[tokio::test(flavor = "multi_thread")]
async fn honest_customers_do_not_notice_a_flood() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::embedded(&folder.path().join("data"), &[]).await?;
    Load::add_products(&fleet.client("admin")).await?;
    let mut table = format!("{:<44} {:>6} {:>7} {:>8} {:>7}\n", "attack", "orders", "p99", "/health", "memory");
    let mut failed = Vec::new();
    for (name, flood) in floods::ALL {
        let before = fleet.memory()?;
        let attack = tokio::spawn(tokio::time::timeout(LASTS, flood(fleet.gateway().to_owned())));
        let seen = honest::shop(&fleet, LASTS).await?;
        // It ends with an error only if it could not attack.
        if let Ok(ended) = attack.await? {
            ended?;
        }
        let grown = seen.memory.saturating_sub(before);
        let well = seen.orders > 0 && seen.order_p99 < PATIENCE && seen.health_worst < PATIENCE && grown < MEMORY;
        let (orders, p99, health) = (seen.orders, seen.order_p99.as_millis(), seen.health_worst.as_millis());
        let verdict = if well { "well" } else { "SUFFERS" };
        table += &format!("{name:<44} {orders:>6} {p99:>4} ms {health:>5} ms {grown:>3} MiB {verdict}\n");
        if !well {
            failed.push(name);
        }
    }
    writeln!(std::io::stdout(), "{table}")?;
    ensure!(failed.is_empty(), "honest customers suffer from {failed:?}\n{table}");
    let metrics = fleet.anonymous().get("/metrics").await?.text();
    ensure!(metrics.len() < 200_000, "the metrics have {} bytes: a label is in strangers' hands", metrics.len());
    ensure!(drain_and_audit(fleet).await?.is_clean(), "the audit is not clean");
    Ok(())
}
