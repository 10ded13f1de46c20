//! The facts about payments that the auditor checks, independent of the schema. Events come from the outbox.

use bus::LastEvents;
use commerce::Timestamp;
use db::{Db, Options};
use serde_json::Value;

use crate::{
    domain::{Operation, OperationOutcome, Payment},
    events::{self, PaymentBody},
    store,
};

const PAGE_SIZE: i64 = 1_000;

/// Everything that the audit reads from this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every payment, tombstones included.
    pub payments: Vec<PaymentFact>,
    /// The highest number of a payment, and the last number that was given.
    pub numbers: (&'static str, i64, i64),
    /// The events in the outbox.
    pub outbox: bus::outbox::OutboxDump,
    /// The payments compared with their events.
    pub comparison: bus::Comparison,
    /// What contradicts within the store, for people.
    pub contradictions: Vec<String>,
}

/// One operation of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFact {
    /// `authorize`, `capture`, `void` or `refund`.
    pub op: &'static str,
    /// Distinguishes operations of one kind.
    pub op_id: String,
    /// What it moved, in minor units.
    pub amount: i64,
    /// `done`, `refused` or `in_doubt`.
    pub outcome: &'static str,
}

/// One payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFact {
    /// Its id.
    pub id: String,
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
    /// The payer, if it is known.
    pub customer_id: Option<String>,
    /// As ISO 4217 code.
    pub currency: String,
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
    /// Its operations, in the order of the requests.
    pub operations: Vec<OperationFact>,
}

/// Reads the facts from the store at this URL; the service need not run.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let outbox = bus::outbox::dump(&mut tx).await?;
    let mut events = LastEvents::of(&outbox);
    let mut payments = Vec::new();
    let mut after = String::new();
    loop {
        let page = store::payments::audit_page(&mut tx, &after, PAGE_SIZE).await?;
        let Some(last) = page.last() else { break };
        after = last.order_id.as_str().to_owned();
        page.iter().for_each(|payment| compare(payment, &mut events));
        payments.extend(page.iter().map(fact));
    }
    let comparison = events.finish();
    let contradictions = store::sandbox::contradicting_calls(&mut tx).await?;
    let (highest, last) = store::payments::numbers(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(Facts { payments, numbers: ("payment", highest, last), outbox, comparison, contradictions })
}

fn fact(payment: &Payment) -> PaymentFact {
    PaymentFact {
        id: payment.id.to_string(),
        order_id: payment.order_id.as_str().to_owned(),
        kind: payment.kind.as_str(),
        amount: payment.amount.minor(),
        captured: payment.captured.minor(),
        refunded: payment.refunded.minor(),
        customer_id: payment.customer_id.as_ref().map(ToString::to_string),
        currency: payment.currency.to_string(),
        method: payment.method.as_str(),
        status: payment.status.as_str(),
        last_sequence: payment.sequence,
        created_at: payment.created_at.micros(),
        updated_at: payment.updated_at.micros(),
        inconsistency: crate::domain::inconsistency(payment),
        operations: payment.operations.iter().map(OperationFact::from).collect(),
    }
}

impl From<&Operation> for OperationFact {
    fn from(operation: &Operation) -> Self {
        let Operation { op, op_id, amount, outcome, .. } = operation;
        Self { op: op.as_str(), op_id: op_id.clone(), amount: amount.minor(), outcome: outcome.as_str() }
    }
}

/// Compares a payment with its last event. Operations that move nothing have no event, so more of them may follow.
fn compare(payment: &Payment, events: &mut LastEvents<'_>) {
    let (body, order_id) = (PaymentBody::from(payment), payment.order_id.as_str());
    let apart = ["operation", "operations", "status", "updated_at"];
    events.compare(events::TOPIC, order_id, payment.sequence, &body, &apart);
    let Ok(stored) = serde_json::to_value(&body) else { return };
    let operations = |body: &Value| body["operations"].as_array().cloned().unwrap_or_default();
    let (stored, told) = (operations(&stored), events.member(events::TOPIC, order_id, payment.sequence, "operations"));
    let in_doubt = OperationOutcome::InDoubt.as_str();
    for operation in told.as_ref().and_then(Value::as_array).into_iter().flatten() {
        if operation["outcome"] != in_doubt && !stored.contains(operation) {
            events.differs(format!(
                "payment of {order_id}: its last event has the operation {operation}, the payment has not"
            ));
        }
    }
}

/// What the store at `url` knows of the payment of one order, with the times; empty if it does not know it.
pub async fn history(url: &str, order_id: &str) -> anyhow::Result<Vec<(Timestamp, String)>> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut history = Vec::new();
    if let Some(payment) = store::payments::of_orders(&mut tx, &[order_id].into()).await?.remove(order_id) {
        let (status, captured, refunded) = (payment.status.as_str(), payment.captured, payment.refunded);
        let (method, amount, currency) = (payment.method.as_str(), payment.amount, payment.currency);
        history.push((payment.created_at, format!("payment of {amount} {currency} by {method} recorded")));
        history.push((payment.updated_at, format!("payment {status}: captured {captured}, refunded {refunded}")));
        history.extend(payment.operations.iter().map(|operation| {
            let Operation { op, op_id, amount, outcome, reason, note, provider_key, .. } = operation;
            let why = [reason, note].into_iter().filter(|text| !text.is_empty()).map(|text| format!(", {text}"));
            let (op, outcome) = (op.as_str(), outcome.as_str());
            let text = format!("{op} {op_id} of {amount} {outcome}{}; key {provider_key}", why.collect::<String>());
            (operation.at, text)
        }));
    }
    history.extend(bus::outbox::history(&mut tx, "payments", order_id).await?);
    drop(tx);
    db.close().await;
    Ok(history)
}
