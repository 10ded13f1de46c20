//! The summaries of sales as a whole: kept up by a job, compared with the orders, and put right.

use std::time::Duration;

use anyhow::bail;
use commerce::Timestamp;
use db::{Db, Options};
use upkeep::Leases as _;

use crate::{
    domain::Deltas,
    store::{self, sales},
};

/// The lease under which summaries are put right, so that nobody does the same at the same time.
const LEASE: &str = "reports rebuild";
/// Rows that are put right in one transaction.
const CHUNK: usize = 2_000;

/// What was found, and put right unless it was only to be compared.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Rows that the summaries should have.
    pub rows: usize,
    /// Confirmed orders that were not summed yet: from before there were summaries.
    pub added: u64,
    /// Rows that differ, each in words.
    pub differences: Vec<String>,
}

/// Adds to the summaries what was confirmed before there were any, or by an older version meanwhile.
pub(crate) fn job(db: Db) -> upkeep::Job {
    upkeep::Job::new("sales summaries", move || {
        let db = db.clone();
        async move { Ok(catch_up(&db).await?) }
    })
}

async fn catch_up(db: &Db) -> db::Result<u64> {
    let mut tx = db.read().await?;
    // A replica with nothing to do does not write.
    if !sales::is_behind(&mut tx).await? {
        return Ok(0);
    }
    drop(tx);
    let mut tx = db.write().await?;
    let added = sales::catch_up(&mut tx, upkeep::BATCH).await?;
    tx.commit().await?;
    Ok(added)
}

/// Compares the summaries of the store at `url` with its orders, running or not.
pub async fn compare(url: &str) -> anyhow::Result<Compared> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let compared = compare_in(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(compared)
}

/// The same within a snapshot.
pub(crate) async fn compare_in(tx: &mut db::Tx) -> anyhow::Result<Compared> {
    let (drift, rows) = sales::drift(tx).await?;
    let behind = sales::behind(tx).await?;
    Ok(Compared { rows, added: behind, differences: in_words(&drift) })
}

/// Puts the summaries of the store at `url` right, whatever is sold meanwhile: what is missing or too much is read in one
/// snapshot and added, which is right whenever it is done.
pub async fn rebuild(url: &str) -> anyhow::Result<Compared> {
    let db = Db::open(url, &Options::of("reports"), None).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    let (leases, owner) = (upkeep::SqlLeases(db.clone()), chassis::Context::new_instance());
    let now = Timestamp::now();
    if !leases.take(LEASE, &owner, now, now.plus(Duration::from_secs(3_600))).await? {
        bail!("somebody else is rebuilding the reports of this store");
    }
    let done = put_right(&db).await;
    leases.release(LEASE, &owner).await?;
    db.close().await;
    done
}

async fn put_right(db: &Db) -> anyhow::Result<Compared> {
    let mut added = 0;
    loop {
        match catch_up(db).await? {
            0 => break,
            more => added += more,
        }
    }
    let mut tx = db.snapshot().await?;
    let (drift, rows) = sales::drift(&mut tx).await?;
    drop(tx);
    let differences = in_words(&drift);
    let mut changes = drift.0.into_iter().peekable();
    while changes.peek().is_some() {
        let chunk = Deltas(changes.by_ref().take(CHUNK).collect());
        let mut tx = db.write().await?;
        sales::add(&mut tx, chunk).await?;
        tx.commit().await?;
    }
    Ok(Compared { rows, added, differences })
}

fn in_words(drift: &Deltas) -> Vec<String> {
    let one = |((grain, starts, place, product), sums): (&crate::domain::SummaryRow, &crate::domain::Sums)| {
        let what = if product.is_empty() { "orders".to_owned() } else { format!("product {product}") };
        format!(
            "{what} at {place} in the {} of {starts}: the orders say {} orders, {} pieces, {} minor units more",
            grain.as_str(),
            sums.orders,
            sums.quantity,
            sums.revenue
        )
    };
    drift.0.iter().map(one).collect()
}
