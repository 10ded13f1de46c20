//! What the audit reads of this service: plain facts, independent of the schema. Events come from the outbox.

use bus::{LastEvents, outbox::OutboxDump};
use commerce::Timestamp;

use crate::domain::{Activity, Customer, Prospect};
use crate::store::{self, Record, Store, Stored};
use crate::{consumer, events};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every customer.
    pub customers: Vec<Fact>,
    /// Every prospect, and a mark of each that was deleted.
    pub prospects: Vec<Fact>,
    /// Every activity, and a mark of each that was deleted.
    pub activities: Vec<Fact>,
    /// Of each kind: the highest number, and how many there are. Numbers have no gaps.
    pub numbers: [(&'static str, i64, i64); 3],
    /// The events that the outbox keeps.
    pub outbox: OutboxDump,
    /// All of them compared with their events.
    pub comparison: bus::Comparison,
}

/// A customer, prospect or activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its id.
    pub id: String,
    /// Number of events published so far; for an activity one, of its creation.
    pub last_sequence: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// The id of the activity that an event of this service about a prospect must have made; `None` for what makes none.
pub fn activity_of(kind: &str, event_id: &str) -> Option<String> {
    let makes = [events::PROSPECT_CREATED, events::PROSPECT_UPDATED].contains(&kind);
    makes.then(|| consumer::activity_of(consumer::OWN, event_id).into())
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let store = store::open_to_read(url).await?;
    let mut customers: Vec<Customer> = Vec::new();
    loop {
        let page = store.all_customers(customers.last().map_or("", |last| last.id.as_str())).await?;
        if page.is_empty() {
            break;
        }
        customers.extend(page);
    }
    let prospects = all_records::<Prospect>(&store).await?;
    let activities = all_records::<Activity>(&store).await?;
    // Read last: the events of everything in the facts are published by then.
    let outbox = store.outbox_dump().await?;
    store.close().await;
    let mut last_events = LastEvents::of(&outbox);
    for customer in &customers {
        last_events.compare(events::TOPIC, customer.id.as_str(), customer.sequence, &events::data(customer), &[]);
    }
    compare(&prospects, &[], &mut last_events);
    // After its creation an activity is changed without an event.
    compare(&activities, &["name", "date", "prospect_id", "updated_at", "version"], &mut last_events);
    let comparison = last_events.finish();
    Ok(Facts {
        numbers: [
            highest("customer", customers.iter().map(|customer| customer.number)),
            highest("prospect", prospects.iter().map(Record::number)),
            highest("activity", activities.iter().map(Record::number)),
        ],
        customers: customers.iter().map(fact_of_customer).collect(),
        prospects: prospects.iter().map(fact).collect(),
        activities: activities.iter().map(fact).collect(),
        outbox,
        comparison,
    })
}

async fn all_records<T: Stored>(store: &Store) -> anyhow::Result<Vec<T>> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let page = store.all_records::<T>(all.last().map_or("", Record::id)).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn compare<T: Record>(records: &[T], apart: &[&str], events: &mut LastEvents<'_>) {
    for record in records {
        let event = record.created_event();
        events.compare(event.topic, &event.subject, record.sequence(), &record.data(), apart);
    }
}

fn highest(kind: &'static str, numbers: impl Iterator<Item = i64>) -> (&'static str, i64, i64) {
    let (highest, count) = numbers.fold((0, 0), |(highest, count), number| (number.max(highest), count + 1));
    (kind, highest, count)
}

fn fact_of_customer(customer: &Customer) -> Fact {
    let Customer { sequence, created_at, updated_at, .. } = *customer;
    Fact { id: customer.id.to_string(), last_sequence: sequence, created_at, updated_at }
}

fn fact<T: Record>(record: &T) -> Fact {
    Fact {
        id: record.id().to_owned(),
        last_sequence: record.sequence(),
        created_at: record.created_at(),
        updated_at: record.updated_at(),
    }
}
