//! What the auditor is told about customers: plain facts, no schema. Events are told by the outbox.

use db::{Db, Options};

use crate::store::{SqlStore, Store};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every customer.
    pub customers: Vec<CustomerFact>,
    /// Every event that the outbox keeps, in order.
    pub events: Vec<bus::outbox::Told>,
}

/// One customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFact {
    /// His id.
    pub id: String,
    /// Events told so far.
    pub last_sequence: i64,
    /// Whether nothing personal is left of him.
    pub anonymised: bool,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options { read_only: true, ..Options::default() }, None).await?;
    let store = SqlStore::new(db.clone());
    let mut facts = Facts::default();
    loop {
        let after = facts.customers.last().map(|customer| customer.id.clone()).unwrap_or_default();
        let page = store.customer_facts(&after).await?;
        if page.is_empty() {
            break;
        }
        facts.customers.extend(page);
    }
    facts.events = bus::outbox::all(&mut db.read().await?).await?;
    db.close().await;
    Ok(facts)
}
