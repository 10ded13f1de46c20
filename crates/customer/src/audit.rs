//! What the audit reads of this service: plain facts, independent of the schema. Events come from the outbox.

use bus::outbox::OutboxDump;

use crate::domain::{Activity, Prospect};
use crate::store::{self, Store, Stored};
use crate::{consumer, events};

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
    pub outbox: OutboxDump,
}

/// The id of the activity that an event of this service about a prospect must have made; `None` for what makes none.
pub fn activity_of(kind: &str, event_id: &str) -> Option<String> {
    let makes = [events::PROSPECT_CREATED, events::PROSPECT_UPDATED].contains(&kind);
    makes.then(|| consumer::activity_of(consumer::OWN, event_id).into())
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let store = store::open_to_read(url).await?;
    let mut customers: Vec<CustomerFact> = Vec::new();
    loop {
        let page = store.customer_facts(customers.last().map_or("", |fact| fact.id.as_str())).await?;
        if page.is_empty() {
            break;
        }
        customers.extend(page);
    }
    let mut facts = Facts {
        customers,
        prospects: record_facts::<Prospect>(&store).await?,
        activities: record_facts::<Activity>(&store).await?,
        outbox: OutboxDump::default(),
    };
    // Read last: the events of everything in the facts are published by then.
    facts.outbox = store.outbox_dump().await?;
    store.close().await;
    Ok(facts)
}

async fn record_facts<T: Stored>(store: &Store) -> anyhow::Result<Vec<LeadFact>> {
    let mut facts: Vec<LeadFact> = Vec::new();
    loop {
        let page = store.record_facts::<T>(facts.last().map_or("", |fact| fact.id.as_str())).await?;
        if page.is_empty() {
            return Ok(facts);
        }
        facts.extend(page);
    }
}
