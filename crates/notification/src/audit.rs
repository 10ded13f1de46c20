//! What the audit reads of this service: how far the events of each aggregate have been consumed.

use commerce::Timestamp;
use db::{Db, Options, query};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The last event of each aggregate that took effect here.
    pub inbox: bus::inbox::InboxDump,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let inbox = bus::inbox::dump(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(Facts { inbox })
}

/// What the store at `url` notified about one order, with the times.
pub async fn history(url: &str, order_id: &str) -> anyhow::Result<Vec<(Timestamp, String)>> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let rows = query("select at, message from notifications where order_id = $1 order by number").bind(order_id);
    let mut history = Vec::new();
    for row in rows.fetch_all(&mut tx).await? {
        history.push((Timestamp::from_micros(row.get("at")?), format!("notified: {}", row.get::<String>("message")?)));
    }
    history.extend(bus::inbox::last_effect(&mut tx, "orders", order_id).await?);
    drop(tx);
    db.close().await;
    Ok(history)
}
