//! The events that this service publishes to topic `payments`: the subject is the order id, the data the payment and the
//! operation that changed it. The service consumes no events.

use commerce::{Amount, Currency, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Operation, Payment, PaymentEvent};

/// The topic that this service publishes to.
pub(crate) const TOPIC: &str = "payments";

/// The payment of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentBody<'a> {
    id: &'a str,
    /// The number that people use, from 1.
    number: Option<i64>,
    /// The order's id, or `legacy:` and an id that was paid by the old proto.
    order_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    /// The authorised amount, such as 12.34.
    amount: Amount,
    currency: Currency,
    /// `card` or `cash`.
    method: &'a str,
    /// `authorised`, `captured`, `refused`, `voided`, `partly_refunded`, `refunded`, or `in_doubt` while the provider has not
    /// answered.
    status: &'a str,
    /// The amount captured so far.
    captured: Amount,
    /// The amount refunded so far.
    refunded: Amount,
    /// All operations, in the order of the requests.
    operations: Vec<OperationBody<'a>>,
    /// In an event: the operation that the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationBody<'a>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// One operation on a payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentOperation)]
pub(crate) struct OperationBody<'a> {
    /// `authorize`, `capture`, `void` or `refund`.
    op: &'a str,
    /// Chosen by the caller; distinguishes a repeat from a second operation of the same kind.
    op_id: &'a str,
    /// The amount that was moved, or is in doubt.
    amount: Amount,
    at: Timestamp,
    /// `done`, `refused` or `in_doubt`.
    outcome: &'a str,
    /// Why it was refused.
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

/// The message of an event that the operation at `index` has caused.
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
