//! The rules of operations on payments. The caller provides the payment (or none), calls [`decide`], and applies the decision
//! with [`record`] and [`resolve`].

use commerce::{Amount, PaymentId, Timestamp};

use super::payment::{
    Action, Method, Op, Operation, OperationOutcome, OperationRequest, Payment, PaymentKind, PaymentStatus,
    RequestedAmount, Terms, provider_key,
};

/// What has to be done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A repeat: the operation at this index has the result.
    Repeat(usize),
    /// It contradicts the payment or an earlier request, and is not recorded.
    Invalid(String),
    /// The payment was voided before it was authorised.
    TooLate(String),
    /// Decided by the rules alone.
    Resolved(Resolution),
    /// The provider has to decide.
    Ask(ProviderRequest),
    /// An earlier operation is in doubt: recorded, and decided when that one is resolved.
    Wait,
}

/// How an operation is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It was performed.
    Done,
    /// It was not performed and never will be.
    Refused(String),
}

/// What the provider shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProviderRequest {
    /// Authorise (and capture) this amount.
    Charge(Amount),
    /// Capture a part of what is authorised, and release the rest.
    Capture {
        /// To capture.
        amount: Amount,
        /// To release.
        rest: Amount,
    },
    /// Release what is authorised.
    ReleaseHold(Amount),
    /// Give back what was captured.
    Refund(Amount),
}

/// The kinds of event that the service publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaymentEvent {
    /// Money was captured.
    Captured,
    /// The payment was refused.
    Refused,
    /// Everything was given back.
    Voided,
    /// A part was given back.
    Refunded,
}

/// Decides a request on the payment as it is.
pub(crate) fn decide(payment: Option<&Payment>, request: &OperationRequest) -> Decision {
    let Some(payment) = payment else {
        return match &request.action {
            Action::Authorize(terms) => decide_charge(terms.method, terms.amount),
            Action::Void => Decision::Resolved(Resolution::Done),
            Action::Capture(_) | Action::Refund { .. } => no_payment(request),
        };
    };
    if payment.is_tombstone() {
        return match &request.action {
            Action::Authorize(_) => {
                Decision::TooLate(format!("order {} was voided before it was authorised", request.order_id))
            }
            Action::Void => match payment.find(Op::Void, &request.op_id) {
                Some(index) => Decision::Repeat(index),
                None => Decision::Resolved(Resolution::Done),
            },
            Action::Capture(_) | Action::Refund { .. } => no_payment(request),
        };
    }
    let op = request.action.op();
    if let Some(index) = payment.find(op, &request.op_id) {
        return match mismatch(payment, index, &request.action) {
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
    decide_by_rules(payment, op, request.action.requested_amount())
}

/// Decides a recorded operation, after all before it were resolved.
pub(crate) fn decide_recorded(payment: &Payment, index: usize) -> Decision {
    let operation = &payment.operations[index];
    match operation.op {
        Op::Authorize => decide_charge(payment.method, payment.amount),
        op => decide_by_rules(payment, op, operation.requested),
    }
}

/// Records an operation in doubt, which [`resolve`] ends. Returns its index.
pub(crate) fn record(
    payment: &mut Option<Payment>,
    request: &OperationRequest,
    at: Timestamp,
    id: impl FnOnce() -> PaymentId,
) -> usize {
    let payment = payment.get_or_insert_with(|| new_payment(request, id(), at));
    payment.operations.push(Operation {
        op: request.action.op(),
        op_id: request.op_id.clone(),
        requested: request.action.requested_amount(),
        amount: moved(payment, request.action.op(), request.action.requested_amount()),
        outcome: OperationOutcome::InDoubt,
        reason: String::new(),
        note: request.note.clone(),
        at,
        provider_key: provider_key(&request.order_id, request.action.op(), &request.op_id),
    });
    payment.updated_at = at;
    if !payment.is_tombstone() {
        payment.status = PaymentStatus::InDoubt;
    }
    payment.operations.len() - 1
}

/// Ends an operation, and updates the payment. Returns the event to publish, whose number is [`Payment::sequence`].
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
    let operation = &mut payment.operations[index];
    operation.amount = amount;
    let event = match resolution {
        Resolution::Refused(reason) => {
            operation.outcome = OperationOutcome::Refused;
            operation.reason = reason;
            // A second authorisation does not affect the first.
            (op == Op::Authorize && index == 0).then_some(PaymentEvent::Refused)
        }
        Resolution::Done => {
            operation.outcome = OperationOutcome::Done;
            apply_done(payment, op, amount)
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

fn apply_done(payment: &mut Payment, op: Op, amount: Amount) -> Option<PaymentEvent> {
    let only_authorised = payment.captured == Amount::ZERO && !payment.is_tombstone();
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
            let released = only_authorised && first && !was_refused(payment);
            (released || amount > Amount::ZERO).then_some(PaymentEvent::Voided)
        }
        Op::Refund => {
            payment.refunded = Amount::from_minor(payment.refunded.minor() + amount.minor());
            Some(PaymentEvent::Refunded)
        }
    }
}

fn new_payment(request: &OperationRequest, id: PaymentId, at: Timestamp) -> Payment {
    let tombstone = Terms {
        kind: PaymentKind::Order,
        amount: Amount::ZERO,
        currency: commerce::Currency::default(),
        customer_id: None,
        method: Method::Card,
        capture: false,
    };
    let (terms, status) = match &request.action {
        Action::Authorize(terms) => (terms.clone(), PaymentStatus::InDoubt),
        Action::Capture(_) | Action::Void | Action::Refund { .. } => (tombstone, PaymentStatus::Tombstone),
    };
    Payment {
        id,
        number: None,
        kind: terms.kind,
        order_id: request.order_id.clone(),
        customer_id: terms.customer_id,
        amount: terms.amount,
        currency: terms.currency,
        method: terms.method,
        // Cash is paid at once and cannot be only authorised.
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

fn decide_charge(method: Method, amount: Amount) -> Decision {
    match method {
        Method::Cash => Decision::Resolved(Resolution::Done),
        Method::Card => Decision::Ask(ProviderRequest::Charge(amount)),
    }
}

/// The rules for an operation on a payment without operations in doubt before it.
fn decide_by_rules(payment: &Payment, op: Op, requested: RequestedAmount) -> Decision {
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

/// The amount that an operation moves: a capture or void may mean everything, a refund what is left.
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

/// What contradicts in a stored payment: its amounts and status follow from its operations, and it is charged once.
pub(crate) fn inconsistency(payment: &Payment) -> Option<String> {
    let done = || payment.operations.iter().filter(|known| known.outcome == OperationOutcome::Done);
    let charges = done().filter(|known| known.op == Op::Authorize).count();
    if charges > 1 {
        return Some(format!("charged {charges} times"));
    }
    let (mut captured, mut refunded) = (Amount::ZERO, Amount::ZERO);
    for known in done() {
        match known.op {
            Op::Authorize if payment.capture => captured = payment.amount,
            Op::Authorize => {}
            Op::Capture => captured = known.amount,
            Op::Void => refunded = captured,
            Op::Refund => refunded = Amount::from_minor(refunded.minor() + known.amount.minor()),
        }
    }
    for known in done() {
        let (asked, moved) = (known.requested, known.amount);
        let follows = match known.op {
            Op::Authorize => moved == payment.amount && asked.amount == moved,
            Op::Capture => asked.amount == Amount::ZERO || asked.amount == moved,
            Op::Void => asked.amount == Amount::ZERO,
            Op::Refund => asked.amount == moved || asked.up_to && moved < asked.amount,
        };
        if !follows {
            let (op, id) = (known.op.as_str(), &known.op_id);
            return Some(format!("{op} {id} was asked for {asked} of {} and has moved {moved}", payment.amount));
        }
    }
    if (captured, refunded) != (payment.captured, payment.refunded) {
        let (kept, returned) = (payment.captured, payment.refunded);
        return Some(format!("captured {kept}, refunded {returned}, its operations say {captured} and {refunded}"));
    }
    let status = status_of(payment);
    (!payment.is_tombstone() && status != payment.status)
        .then(|| format!("is {}, its operations say {}", payment.status.as_str(), status.as_str()))
}

fn mismatch(payment: &Payment, index: usize, action: &Action) -> Option<String> {
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

fn no_payment(request: &OperationRequest) -> Decision {
    Decision::Invalid(format!("order {} has no payment", request.order_id))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
