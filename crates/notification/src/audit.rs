//! What the auditor is told about notifications: how far each aggregate's events have been heard.

use std::collections::HashMap;

use db::{Db, Options};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The last event of each aggregate that took effect here: `(topic, subject) -> sequence`.
    pub heard: HashMap<(String, String), i64>,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let options = Options { read_only: true, ..Options::default() };
    let db = Db::open(url, &options, None).await?;
    let mut tx = db.snapshot().await?;
    let heard = bus::inbox::all(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(Facts { heard })
}
