//! What the audit reads of this service: how far the events of each aggregate have been consumed.

use db::{Db, Options};

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
