//! What the auditor is told about payments: plain facts, no schema. Events are told by the outbox.

use db::{Db, Options};

use crate::store;

const PAGE: i64 = 1_000;

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every payment, tombstones included.
    pub payments: Vec<PaymentFact>,
    /// The events that the outbox keeps.
    pub outbox: bus::outbox::Telling,
}

/// One payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFact {
    /// The order's id, or `legacy:` and the id of the older fleet.
    pub order_id: String,
    /// `order` or `legacy`.
    pub kind: &'static str,
    /// In minor units.
    pub amount: i64,
    /// Taken, in minor units.
    pub captured: i64,
    /// Given back, in minor units.
    pub refunded: i64,
    /// `card` or `cash`.
    pub method: &'static str,
    /// As everybody sees it, or `tombstone`.
    pub status: &'static str,
    /// Events told so far.
    pub last_sequence: i64,
    /// When it was made, in microseconds since 1970.
    pub created_at: i64,
    /// When it last changed, in microseconds since 1970.
    pub updated_at: i64,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut facts = Facts::default();
    let mut after = String::new();
    loop {
        let page = store::payments::audit_page(&mut tx, &after, PAGE).await?;
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
        }));
    }
    facts.outbox = bus::outbox::telling(&mut tx).await?;
    Ok(facts)
}
