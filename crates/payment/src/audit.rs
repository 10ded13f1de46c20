//! The facts about payments that the auditor checks, independent of the schema. Events come from the outbox.

use db::{Db, Options};

use crate::store;

const PAGE_SIZE: i64 = 1_000;

/// Everything that the audit reads from this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every payment, tombstones included.
    pub payments: Vec<PaymentFact>,
    /// The highest number of a payment, and the last number that was given.
    pub numbers: (i64, i64),
    /// The events in the outbox.
    pub outbox: bus::outbox::OutboxDump,
}

/// One payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFact {
    /// The order's id, or `legacy:` and the id that was paid by the old proto.
    pub order_id: String,
    /// `order` or `legacy`.
    pub kind: &'static str,
    /// In minor units.
    pub amount: i64,
    /// Captured, in minor units.
    pub captured: i64,
    /// Refunded, in minor units.
    pub refunded: i64,
    /// `card` or `cash`.
    pub method: &'static str,
    /// The published status, or `tombstone`.
    pub status: &'static str,
    /// The number of the last event.
    pub last_sequence: i64,
    /// The time of creation, in microseconds since 1970.
    pub created_at: i64,
    /// The time of the last change, in microseconds since 1970.
    pub updated_at: i64,
    /// How its amounts or status contradict its operations, if they do.
    pub inconsistency: Option<String>,
}

/// Reads the facts from the store at this URL; the service need not run.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut facts = Facts::default();
    let mut after = String::new();
    loop {
        let page = store::payments::audit_page(&mut tx, &after, PAGE_SIZE).await?;
        let Some(last) = page.last() else { break };
        after = last.order_id.as_str().to_owned();
        facts.payments.extend(page.iter().map(|payment| PaymentFact {
            order_id: payment.order_id.as_str().to_owned(),
            kind: payment.kind.as_str(),
            amount: payment.amount.minor(),
            captured: payment.captured.minor(),
            refunded: payment.refunded.minor(),
            method: payment.method.as_str(),
            status: payment.status.as_str(),
            last_sequence: payment.sequence,
            created_at: payment.created_at.micros(),
            updated_at: payment.updated_at.micros(),
            inconsistency: crate::domain::inconsistency(payment),
        }));
    }
    facts.numbers = store::payments::numbers(&mut tx).await?;
    facts.outbox = bus::outbox::dump(&mut tx).await?;
    Ok(facts)
}
