//! What this service tells: topic `payments`, subject the order id, data the payment as everybody sees it,
//! plus the operation that changed it. It consumes nothing.

use commerce::{Amount, Currency, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Operation, Payment, PaymentEvent};

/// The topic.
pub(crate) const TOPIC: &str = "payments";

/// A payment as everybody sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentBody<'a> {
    id: &'a str,
    number: Option<i64>,
    order_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    amount: Amount,
    currency: Currency,
    /// card or cash.
    method: &'a str,
    /// authorised, captured, refused, voided, partly_refunded, refunded or in_doubt.
    status: &'a str,
    captured: Amount,
    refunded: Amount,
    operations: Vec<OperationBody<'a>>,
    /// In an event: the operation that it tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationBody<'a>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// One operation on a payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentOperation)]
pub(crate) struct OperationBody<'a> {
    /// authorize, capture, void or refund.
    op: &'a str,
    op_id: &'a str,
    amount: Amount,
    at: Timestamp,
    /// done, refused or in_doubt.
    outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

impl<'a> From<&'a Operation> for OperationBody<'a> {
    fn from(operation: &'a Operation) -> Self {
        Self {
            op: operation.op.as_str(),
            op_id: &operation.op_id,
            amount: operation.amount,
            at: operation.at,
            outcome: operation.outcome.as_str(),
            reason: &operation.reason,
        }
    }
}

impl<'a> From<&'a Payment> for PaymentBody<'a> {
    fn from(payment: &'a Payment) -> Self {
        Self {
            id: payment.id.as_str(),
            number: payment.number,
            order_id: payment.order_id.as_str(),
            customer_id: payment.customer_id.as_ref().map(|id| id.as_str()),
            amount: payment.amount,
            currency: payment.currency,
            method: payment.method.as_str(),
            status: payment.status.as_str(),
            captured: payment.captured,
            refunded: payment.refunded,
            operations: payment.operations.iter().map(Into::into).collect(),
            operation: None,
            created_at: payment.created_at,
            updated_at: payment.updated_at,
        }
    }
}

/// The event that tells of what the operation at `place` did.
pub(crate) fn event(payment: &Payment, index: usize, event: PaymentEvent) -> bus::NewEvent {
    let kind = match event {
        PaymentEvent::Captured => "souk.payment.captured",
        PaymentEvent::Refused => "souk.payment.refused",
        PaymentEvent::Voided => "souk.payment.voided",
        PaymentEvent::Refunded => "souk.payment.refunded",
    };
    let body = PaymentBody { operation: payment.operations.get(index).map(Into::into), ..PaymentBody::from(payment) };
    bus::NewEvent::new(TOPIC, kind, payment.order_id.as_str(), payment.sequence, &body)
}
