//! Conversions between the messages of the proto files and the domain.

use commerce::{Amount, CustomerId, Id, OrderId};
use proto::payment::v1 as pb;

use crate::{
    commands::{Reply, ReplyOutcome},
    domain::{Action, Method, OperationRequest, Payment, PaymentKind, Terms},
};

/// The prefix of the order ids of payments by the old proto.
pub(crate) const LEGACY: &str = "legacy:";
/// The largest amount taken, in minor units.
const MAX_MINOR: i64 = 1_000_000_000_000;
const MAX_NOTE_CHARS: usize = 500;

/// One item of a call.
pub(crate) struct Item {
    order_id: String,
    op_id: String,
    /// The operation, or why the item is invalid.
    pub(crate) request: Result<OperationRequest, String>,
}

pub(crate) fn authorization(item: pb::Authorization) -> Item {
    let terms = |item: &pb::Authorization| -> Result<Action, String> {
        let method = Method::parse(&item.method)
            .ok_or_else(|| format!("method is `{}`, but must be card or cash", short(&item.method)))?;
        let customer_id = match item.customer_id.as_str() {
            "" => None,
            id => Some(CustomerId::parse(id).map_err(|err| format!("customer_id: {err}"))?),
        };
        Ok(Action::Authorize(Terms {
            kind: PaymentKind::Order,
            amount: amount(item.amount)?,
            currency: item
                .currency
                .parse()
                .map_err(|_| format!("currency is `{}`, but must be three capital letters", short(&item.currency)))?,
            customer_id,
            method,
            capture: item.capture,
        }))
    };
    let request = terms(&item).and_then(|action| parse_request(&item.order_id, &item.op_id, action, String::new()));
    Item { order_id: item.order_id, op_id: item.op_id, request }
}

pub(crate) fn operation(item: pb::Operation, action: impl Fn(&pb::Operation) -> Result<Action, String>) -> Item {
    let request = if item.reason.chars().count() > MAX_NOTE_CHARS {
        Err(format!("reason is longer than {MAX_NOTE_CHARS} characters"))
    } else {
        action(&item).and_then(|action| parse_request(&item.order_id, &item.op_id, action, item.reason))
    };
    Item { order_id: item.order_id, op_id: item.op_id, request }
}

fn parse_request(order_id: &str, op_id: &str, action: Action, note: String) -> Result<OperationRequest, String> {
    // Payments by the old proto are authorised by that proto only; they may be refunded by hand.
    if order_id.starts_with(LEGACY) && !matches!(action, Action::Refund { .. }) {
        return Err(format!("order_id must not begin with {LEGACY}"));
    }
    Ok(OperationRequest {
        order_id: OrderId::parse(order_id).map_err(|err| format!("order_id: {err}"))?,
        op_id: check_id(op_id).map(|()| op_id.to_owned()).map_err(|err| format!("op_id: {err}"))?,
        action,
        note,
    })
}

/// Checks an id of any kind.
pub(crate) fn check_id(id: &str) -> Result<(), String> {
    Id::<()>::parse(id).map(|_| ()).map_err(|err| err.to_string())
}

/// An amount above zero.
pub(crate) fn amount(minor: i64) -> Result<Amount, String> {
    if (1..=MAX_MINOR).contains(&minor) {
        return Ok(Amount::from_minor(minor));
    }
    Err(format!("amount is {minor}, but must be from 1 to {MAX_MINOR} minor units"))
}

/// An amount above zero; 0 means everything.
pub(crate) fn amount_or_all(minor: i64) -> Result<Option<Amount>, String> {
    if minor == 0 { Ok(None) } else { amount(minor).map(Some) }
}

/// The action of a refund.
pub(crate) fn refund(item: &pb::Operation) -> Result<Action, String> {
    Ok(Action::Refund { amount: amount(item.amount)?, up_to: item.up_to })
}

/// Refuses `up_to` in an operation other than a refund.
pub(crate) fn no_up_to(item: &pb::Operation) -> Result<(), String> {
    if item.up_to { Err("up_to is for refunds".into()) } else { Ok(()) }
}

pub(crate) fn invalid(item: &Item, why: &str) -> pb::OperationResult {
    result_of(item, pb::Outcome::Invalid, why.to_owned(), None)
}

pub(crate) fn result(item: &Item, reply: Option<Reply>) -> pb::OperationResult {
    let Some(reply) = reply else {
        return result_of(item, pb::Outcome::InDoubt, String::new(), None);
    };
    let (outcome, reason) = match reply.outcome {
        ReplyOutcome::Done => (pb::Outcome::Done, String::new()),
        ReplyOutcome::Refused(why) => (pb::Outcome::Refused, why),
        ReplyOutcome::InDoubt => (pb::Outcome::InDoubt, "the provider has not answered yet".into()),
        ReplyOutcome::Invalid(why) => (pb::Outcome::Invalid, why),
    };
    result_of(item, outcome, reason, reply.payment.as_ref().map(payment))
}

fn result_of(item: &Item, outcome: pb::Outcome, reason: String, payment: Option<pb::Payment>) -> pb::OperationResult {
    pb::OperationResult {
        order_id: item.order_id.clone(),
        op_id: item.op_id.clone(),
        outcome: outcome.into(),
        reason,
        payment,
    }
}

pub(crate) fn payment(payment: &Payment) -> pb::Payment {
    let operations = payment.operations.iter().map(|operation| pb::PaymentOperation {
        op: operation.op.as_str().into(),
        op_id: operation.op_id.clone(),
        amount: operation.amount.minor(),
        at: operation.at.micros() / 1_000,
        outcome: operation.outcome.as_str().into(),
    });
    pb::Payment {
        id: payment.id.as_str().into(),
        number: payment.number.unwrap_or_default(),
        order_id: payment.order_id.as_str().into(),
        customer_id: payment.customer_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        amount: payment.amount.minor(),
        currency: payment.currency.as_str().into(),
        method: payment.method.as_str().into(),
        status: payment.status.as_str().into(),
        operations: operations.collect(),
        created_at: payment.created_at.micros() / 1_000,
        updated_at: payment.updated_at.micros() / 1_000,
        sequence: payment.sequence,
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
