//! Who may do what with money, and what follows from it. The caller brings the payment as it is (or none),
//! asks [`decide`] what to do, and writes down with [`record`] and [`resolve`] what came of it.

use commerce::{Amount, PaymentId, Timestamp};

use super::payment::{
    Action, Method, Op, Operation, OperationOutcome, OperationRequest, Payment, PaymentKind, PaymentStatus,
    RequestedAmount, Terms,
};

/// What is to be done about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It was done before: the operation at this place answers.
    Repeat(usize),
    /// It cannot be: not written down, as no operation of that kind could stand there.
    Invalid(String),
    /// The payment of this order was voided before it began.
    TooLate(String),
    /// The rules alone decide.
    Resolved(Resolution),
    /// The provider has to be asked.
    Ask(ProviderRequest),
    /// An operation before it is in doubt: written down, decided when that is settled.
    Wait,
}

/// How an operation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It happened.
    Done,
    /// It did not and will not.
    Refused(String),
}

/// What is demanded of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProviderRequest {
    /// Hold (and take) this amount.
    Charge(Amount),
    /// Take so much of what is held and let go of the rest.
    Capture {
        /// To take.
        amount: Amount,
        /// To let go.
        rest: Amount,
    },
    /// Let go of what is held.
    ReleaseHold(Amount),
    /// Give back what was taken.
    Refund(Amount),
}

/// What others are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaymentEvent {
    /// Money was taken.
    Captured,
    /// The payment was refused.
    Refused,
    /// Everything was given back.
    Voided,
    /// A part was given back.
    Refunded,
}

/// Decides a change on the payment as it stands.
pub(crate) fn decide(payment: Option<&Payment>, change: &OperationRequest) -> Decision {
    let Some(payment) = payment else {
        return match &change.action {
            Action::Authorize(terms) => authorize(terms.method, terms.amount),
            Action::Void => Decision::Resolved(Resolution::Done),
            Action::Capture(_) | Action::Refund { .. } => no_payment(change),
        };
    };
    if payment.is_tombstone() {
        return match &change.action {
            Action::Authorize(_) => {
                Decision::TooLate(format!("order {} was voided before it was authorised", change.order_id))
            }
            Action::Void => match payment.find(Op::Void, &change.op_id) {
                Some(index) => Decision::Repeat(index),
                None => Decision::Resolved(Resolution::Done),
            },
            Action::Capture(_) | Action::Refund { .. } => no_payment(change),
        };
    }
    let op = change.action.op();
    if let Some(index) = payment.find(op, &change.op_id) {
        return match differs(payment, index, &change.action) {
            Some(how) => Decision::Invalid(how),
            None => Decision::Repeat(index),
        };
    }
    if op == Op::Authorize {
        return refused("the order has a payment already");
    }
    if payment.first_in_doubt().is_some() {
        return Decision::Wait;
    }
    rule(payment, op, change.action.requested_amount())
}

/// What an operation that stands in doubt demands, now that all before it is settled.
pub(crate) fn decide_recorded(payment: &Payment, index: usize) -> Decision {
    let operation = &payment.operations[index];
    match operation.op {
        Op::Authorize => authorize(payment.method, payment.amount),
        op => rule(payment, op, operation.requested),
    }
}

/// Writes a change down, in doubt; [`resolve`] ends it. Gives the place of the operation.
pub(crate) fn record(
    payment: &mut Option<Payment>,
    change: &OperationRequest,
    at: Timestamp,
    id: impl FnOnce() -> PaymentId,
) -> usize {
    let payment = payment.get_or_insert_with(|| begin(change, id(), at));
    payment.operations.push(Operation {
        op: change.action.op(),
        op_id: change.op_id.clone(),
        requested: change.action.requested_amount(),
        amount: moved(payment, change.action.op(), change.action.requested_amount()),
        outcome: OperationOutcome::InDoubt,
        reason: String::new(),
        note: change.note.clone(),
        at,
    });
    payment.updated_at = at;
    if !payment.is_tombstone() {
        payment.status = PaymentStatus::InDoubt;
    }
    payment.operations.len() - 1
}

/// Ends an operation and books what follows. Tells what others are to hear, with `sequence` already counted.
pub(crate) fn resolve(
    payment: &mut Payment,
    index: usize,
    resolution: Resolution,
    at: Timestamp,
) -> Option<PaymentEvent> {
    let op = payment.operations[index].op;
    let requested = payment.operations[index].requested;
    let amount = moved(payment, op, requested);
    let tombstone = payment.is_tombstone();
    let had_hold = payment.captured == Amount::ZERO;
    let operation = &mut payment.operations[index];
    operation.amount = amount;
    let event = match resolution {
        Resolution::Refused(reason) => {
            operation.outcome = OperationOutcome::Refused;
            operation.reason = reason;
            // A second authorisation changes nothing for the first.
            (op == Op::Authorize && index == 0).then_some(PaymentEvent::Refused)
        }
        Resolution::Done => {
            operation.outcome = OperationOutcome::Done;
            book(payment, op, amount, had_hold && !tombstone)
        }
    };
    payment.updated_at = at;
    if !tombstone {
        payment.status = status_of(payment);
    }
    if event.is_some() {
        payment.sequence += 1;
    }
    event
}

fn book(payment: &mut Payment, op: Op, amount: Amount, had_hold: bool) -> Option<PaymentEvent> {
    match op {
        Op::Authorize if payment.capture => {
            payment.captured = payment.amount;
            Some(PaymentEvent::Captured)
        }
        Op::Authorize => None,
        Op::Capture => {
            payment.captured = amount;
            Some(PaymentEvent::Captured)
        }
        Op::Void => {
            let voids = |known: &&Operation| known.op == Op::Void && known.outcome == OperationOutcome::Done;
            let first = payment.operations.iter().filter(voids).count() == 1;
            payment.refunded = payment.captured;
            let held = had_hold && first && !was_refused(payment);
            (held || amount > Amount::ZERO).then_some(PaymentEvent::Voided)
        }
        Op::Refund => {
            payment.refunded = Amount::from_minor(payment.refunded.minor() + amount.minor());
            Some(PaymentEvent::Refunded)
        }
    }
}

fn begin(change: &OperationRequest, id: PaymentId, at: Timestamp) -> Payment {
    let tombstone = Terms {
        kind: PaymentKind::Order,
        amount: Amount::ZERO,
        currency: commerce::Currency::default(),
        customer_id: None,
        method: Method::Card,
        capture: false,
    };
    let (terms, status) = match &change.action {
        Action::Authorize(terms) => (terms.clone(), PaymentStatus::InDoubt),
        Action::Capture(_) | Action::Void | Action::Refund { .. } => (tombstone, PaymentStatus::Tombstone),
    };
    Payment {
        id,
        number: None,
        kind: terms.kind,
        order_id: change.order_id.clone(),
        customer_id: terms.customer_id,
        amount: terms.amount,
        currency: terms.currency,
        method: terms.method,
        // Cash lies in the till: it cannot be only promised.
        capture: terms.capture || terms.method == Method::Cash,
        status,
        captured: Amount::ZERO,
        refunded: Amount::ZERO,
        sequence: 0,
        claimed_until: Timestamp::default(),
        created_at: at,
        updated_at: at,
        operations: Vec::new(),
    }
}

fn authorize(method: Method, amount: Amount) -> Decision {
    match method {
        Method::Cash => Decision::Resolved(Resolution::Done),
        Method::Card => Decision::Ask(ProviderRequest::Charge(amount)),
    }
}

/// The rules on a payment of which nothing is in doubt, or of which all before this operation is settled.
fn rule(payment: &Payment, op: Op, requested: RequestedAmount) -> Decision {
    let voided = payment.operations.iter().any(|known| known.op == Op::Void && known.outcome == OperationOutcome::Done);
    let request = match op {
        Op::Authorize => return refused("the order has a payment already"),
        Op::Void if was_refused(payment) => return Decision::Resolved(Resolution::Done),
        Op::Void if payment.captured == Amount::ZERO && !voided => ProviderRequest::ReleaseHold(payment.amount),
        Op::Void if payment.refundable() == Amount::ZERO => return Decision::Resolved(Resolution::Done),
        Op::Void => ProviderRequest::Refund(payment.refundable()),
        _ if was_refused(payment) => return refused("the payment was refused"),
        Op::Capture if payment.captured > Amount::ZERO => return refused("it is captured already"),
        _ if voided => return refused("the payment was voided"),
        Op::Capture if requested.amount > payment.amount => {
            return refused(&format!("{requested} is more than the {} authorised", payment.amount));
        }
        Op::Capture => {
            let amount = moved(payment, op, requested);
            let rest = Amount::from_minor(payment.amount.minor() - amount.minor());
            ProviderRequest::Capture { amount, rest }
        }
        Op::Refund if payment.captured == Amount::ZERO => return refused("nothing is captured"),
        Op::Refund if requested.up_to && payment.refundable() == Amount::ZERO => {
            return refused(&format!("nothing is left of {}", payment.captured));
        }
        Op::Refund if !requested.up_to && requested.amount > payment.refundable() => {
            return refused(&format!(
                "a refund of {requested} is more than the {} left of {}",
                payment.refundable(),
                payment.captured
            ));
        }
        Op::Refund => ProviderRequest::Refund(moved(payment, op, requested)),
    };
    match payment.method {
        Method::Cash => Decision::Resolved(Resolution::Done),
        Method::Card => Decision::Ask(request),
    }
}

/// What an operation moves: captures and voids may mean "everything", refunds "what is left".
fn moved(payment: &Payment, op: Op, requested: RequestedAmount) -> Amount {
    match op {
        Op::Capture if requested.amount == Amount::ZERO => payment.amount,
        Op::Void => payment.refundable(),
        Op::Refund if requested.up_to => requested.amount.min(payment.refundable()),
        _ => requested.amount,
    }
}

fn was_refused(payment: &Payment) -> bool {
    payment
        .operations
        .first()
        .is_some_and(|first| first.op == Op::Authorize && first.outcome == OperationOutcome::Refused)
}

fn status_of(payment: &Payment) -> PaymentStatus {
    let voided = payment.operations.iter().any(|known| {
        known.op == Op::Void
            && known.outcome == OperationOutcome::Done
            && (payment.captured == Amount::ZERO || known.amount > Amount::ZERO)
    });
    if payment.first_in_doubt().is_some() {
        PaymentStatus::InDoubt
    } else if was_refused(payment) {
        PaymentStatus::Refused
    } else if voided {
        PaymentStatus::Voided
    } else if payment.captured == Amount::ZERO {
        PaymentStatus::Authorised
    } else if payment.refunded == Amount::ZERO {
        PaymentStatus::Captured
    } else if payment.refunded < payment.captured {
        PaymentStatus::PartlyRefunded
    } else {
        PaymentStatus::Refunded
    }
}

fn differs(payment: &Payment, index: usize, action: &Action) -> Option<String> {
    let known = &payment.operations[index];
    let what = format!("{} {}", known.op.as_str(), known.op_id);
    if known.requested != action.requested_amount() {
        return Some(format!("{what} was asked for {} before, now for {}", known.requested, action.requested_amount()));
    }
    match action {
        Action::Authorize(terms) if terms.currency != payment.currency => {
            Some(format!("{what} was asked for in {} before, now in {}", payment.currency, terms.currency))
        }
        Action::Authorize(terms) if terms.method != payment.method => Some(format!(
            "{what} was asked for by {} before, now by {}",
            payment.method.as_str(),
            terms.method.as_str()
        )),
        _ => None,
    }
}

fn refused(why: &str) -> Decision {
    Decision::Resolved(Resolution::Refused(why.to_owned()))
}

fn no_payment(change: &OperationRequest) -> Decision {
    Decision::Invalid(format!("order {} has no payment", change.order_id))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
