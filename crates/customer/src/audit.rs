//! What the auditor is told about customers: plain facts, no schema. Events are told by the outbox.

use commerce::Timestamp;

use crate::store;

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every customer.
    pub customers: Vec<CustomerFact>,
    /// The events that the outbox keeps.
    pub outbox: bus::outbox::Telling,
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
    /// When he was made.
    pub created_at: Timestamp,
    /// When the last event was told.
    pub updated_at: Timestamp,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let store = store::open_to_read(url).await?;
    let mut facts = Facts::default();
    loop {
        let after = facts.customers.last().map(|customer| customer.id.clone()).unwrap_or_default();
        let page = store.customer_facts(&after).await?;
        if page.is_empty() {
            break;
        }
        facts.customers.extend(page);
    }
    facts.outbox = store.told().await?;
    store.close().await;
    Ok(facts)
}
