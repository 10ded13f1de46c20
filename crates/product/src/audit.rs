//! What the audit reads of this service: plain facts, independent of the schema. Events come from the outbox.

use db::{Db, Options};

use crate::store::Store;

pub use crate::store::ProductFact;

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every product, deleted ones too.
    pub products: Vec<ProductFact>,
    /// The events that the outbox keeps.
    pub outbox: bus::outbox::OutboxDump,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let store = Store::new(db.clone());
    let mut facts = Facts::default();
    loop {
        let after = facts.products.last().map(|product| product.id.clone()).unwrap_or_default();
        let page = store.facts(&after).await?;
        if page.is_empty() {
            break;
        }
        facts.products.extend(page);
    }
    facts.outbox = bus::outbox::dump(&mut db.read().await?).await?;
    db.close().await;
    Ok(facts)
}
