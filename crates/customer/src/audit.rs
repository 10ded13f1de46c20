//! What the audit reads of this service: plain facts, independent of the schema. Events come from the outbox.

use crate::{consumer, events, store};

pub use crate::store::{CustomerFact, LeadFact};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every customer.
    pub customers: Vec<CustomerFact>,
    /// Every prospect, and a mark of each that was deleted.
    pub prospects: Vec<LeadFact>,
    /// Every activity, and a mark of each that was deleted.
    pub activities: Vec<LeadFact>,
    /// The events that the outbox keeps.
    pub outbox: bus::outbox::OutboxDump,
}

/// The id of the activity that an event of this service about a prospect must have made; `None` for what makes none.
pub fn activity_of(kind: &str, event_id: &str) -> Option<String> {
    let makes = [events::PROSPECT_CREATED, events::PROSPECT_UPDATED].contains(&kind);
    makes.then(|| consumer::activity_of(consumer::OWN, event_id).into())
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
    loop {
        let after = facts.prospects.last().map(|prospect| prospect.id.clone()).unwrap_or_default();
        let page = store.prospect_facts(&after).await?;
        if page.is_empty() {
            break;
        }
        facts.prospects.extend(page);
    }
    loop {
        let after = facts.activities.last().map(|activity| activity.id.clone()).unwrap_or_default();
        let page = store.activity_facts(&after).await?;
        if page.is_empty() {
            break;
        }
        facts.activities.extend(page);
    }
    // Read last: the events of everything in the facts are published by then.
    facts.outbox = store.told().await?;
    store.close().await;
    Ok(facts)
}
