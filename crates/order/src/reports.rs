//! Maintenance of the summaries of sales: a job, the comparison with the orders, and the rebuild.

use std::time::Duration;

use anyhow::bail;
use commerce::Timestamp;
use db::{Db, Options};
use upkeep::Leases as _;

use crate::{
    domain::Deltas,
    store::{self, sales},
};

/// The lease that keeps two rebuilds from running at the same time.
const LEASE: &str = "reports rebuild";
/// Rows corrected in one transaction.
const BATCH: usize = 2_000;

/// The result of a comparison or rebuild.
#[derive(Debug, Clone)]
pub struct SalesComparison {
    /// Rows that the summaries should have.
    pub rows: usize,
    /// Confirmed orders that the summaries did not contain: those of a version without summaries. A rebuild adds them.
    pub added: u64,
    /// Descriptions of the rows that differ. A rebuild corrects them.
    pub differences: Vec<String>,
}

/// The job that adds orders to the summaries which a version without summaries confirmed.
pub(crate) fn job(db: Db) -> upkeep::Job {
    upkeep::Job::new("sales summaries", move || {
        let db = db.clone();
        async move { Ok(sum_unsummed(&db).await?) }
    })
}

async fn sum_unsummed(db: &Db) -> db::Result<u64> {
    let mut tx = db.read().await?;
    // A replica with nothing to do opens no write transaction.
    if !sales::has_unsummed(&mut tx).await? {
        return Ok(0);
    }
    drop(tx);
    let mut tx = db.write().await?;
    let added = sales::sum_unsummed(&mut tx, upkeep::BATCH).await?;
    tx.commit().await?;
    Ok(added)
}

/// Compares the summaries of the store at `url` with its orders. The service may be running.
pub async fn compare(url: &str) -> anyhow::Result<SalesComparison> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let compared = compare_in(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(compared)
}

/// Compares within a snapshot.
pub(crate) async fn compare_in(tx: &mut db::Tx) -> anyhow::Result<SalesComparison> {
    let (drift, rows) = sales::drift(tx).await?;
    let unsummed = sales::count_unsummed(tx).await?;
    Ok(SalesComparison { rows, added: unsummed, differences: describe(&drift) })
}

/// Corrects the summaries of the store at `url`. The service may be running: the differences are read in one snapshot and
/// added, which stays right while orders are confirmed and cancelled.
pub async fn rebuild(url: &str) -> anyhow::Result<SalesComparison> {
    let db = Db::open(url, &Options::of("reports"), None).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    let (leases, owner) = (upkeep::SqlLeases(db.clone()), chassis::Context::new_instance());
    let now = Timestamp::now();
    if !leases.take(LEASE, &owner, now, now.plus(Duration::from_secs(3_600))).await? {
        bail!("another rebuild of this store is running");
    }
    let rebuilt = correct(&db).await;
    leases.release(LEASE, &owner).await?;
    db.close().await;
    rebuilt
}

async fn correct(db: &Db) -> anyhow::Result<SalesComparison> {
    let mut added = 0;
    loop {
        match sum_unsummed(db).await? {
            0 => break,
            more => added += more,
        }
    }
    let mut tx = db.snapshot().await?;
    let (drift, rows) = sales::drift(&mut tx).await?;
    drop(tx);
    let differences = describe(&drift);
    let mut changes = drift.0.into_iter().peekable();
    while changes.peek().is_some() {
        let batch = Deltas(changes.by_ref().take(BATCH).collect());
        let mut tx = db.write().await?;
        sales::add(&mut tx, batch).await?;
        tx.commit().await?;
    }
    Ok(SalesComparison { rows, added, differences })
}

fn describe(drift: &Deltas) -> Vec<String> {
    let describe_row = |((grain, starts, place, product), sums): (&crate::domain::SummaryKey, &crate::domain::Sums)| {
        let what = if product.is_empty() { "orders".to_owned() } else { format!("product {product}") };
        format!(
            "{what} at {place} in the {} of {starts}: the orders have {} orders, {} pieces, {} minor units more",
            grain.as_str(),
            sums.orders,
            sums.quantity,
            sums.revenue
        )
    };
    drift.0.iter().map(describe_row).collect()
}
