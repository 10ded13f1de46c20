//! Who may do what with money, and what follows from it. The caller brings the payment as it is (or none),
//! asks [`judge`] what to do, and writes down with [`record`] and [`conclude`] what came of it.

use commerce::{Amount, PaymentId, Timestamp};

use super::payment::{Act, Change, Kind, Method, Op, Operation, Outcome, Payment, Said, Status, Terms};

/// What is to be done about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It was done before: the operation at this place answers.
    Repeat(usize),
    /// It cannot be: not written down, as no operation of that kind could stand there.
    Invalid(String),
    /// The payment of this order was voided before it began.
    TooLate(String),
    /// The rules alone decide.
    Decided(Verdict),
    /// The provider has to be asked.
    Ask(Demand),
    /// An operation before it is in doubt: written down, decided when that is settled.
    Wait,
}

/// How an operation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It happened.
    Done,
    /// It did not and will not.
    Refused(String),
}

/// What is demanded of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
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
    LetGo(Amount),
    /// Give back what was taken.
    GiveBack(Amount),
}

/// What others are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
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
pub(crate) fn judge(payment: Option<&Payment>, change: &Change) -> Judgement {
    let Some(payment) = payment else {
        return match &change.act {
            Act::Authorize(terms) => authorize(terms.method, terms.amount),
            Act::Void => Judgement::Decided(Verdict::Done),
            Act::Capture(_) | Act::Refund { .. } => no_payment(change),
        };
    };
    if payment.is_tombstone() {
        return match &change.act {
            Act::Authorize(_) => {
                Judgement::TooLate(format!("order {} was voided before it was authorised", change.order_id))
            }
            Act::Void => match payment.find(Op::Void, &change.op_id) {
                Some(place) => Judgement::Repeat(place),
                None => Judgement::Decided(Verdict::Done),
            },
            Act::Capture(_) | Act::Refund { .. } => no_payment(change),
        };
    }
    let op = change.act.op();
    if let Some(place) = payment.find(op, &change.op_id) {
        return match differs(payment, place, &change.act) {
            Some(how) => Judgement::Invalid(how),
            None => Judgement::Repeat(place),
        };
    }
    if op == Op::Authorize {
        return refused("the order has a payment already");
    }
    if payment.first_in_doubt().is_some() {
        return Judgement::Wait;
    }
    rule(payment, op, change.act.said())
}

/// What an operation that stands in doubt demands, now that all before it is settled.
pub(crate) fn demand_of(payment: &Payment, place: usize) -> Judgement {
    let operation = &payment.operations[place];
    match operation.op {
        Op::Authorize => authorize(payment.method, payment.amount),
        op => rule(payment, op, operation.said),
    }
}

/// Writes a change down, in doubt; [`conclude`] ends it. Gives the place of the operation.
pub(crate) fn record(
    payment: &mut Option<Payment>,
    change: &Change,
    at: Timestamp,
    id: impl FnOnce() -> PaymentId,
) -> usize {
    let payment = payment.get_or_insert_with(|| begin(change, id(), at));
    payment.operations.push(Operation {
        op: change.act.op(),
        op_id: change.op_id.clone(),
        said: change.act.said(),
        amount: moved(payment, change.act.op(), change.act.said()),
        outcome: Outcome::InDoubt,
        reason: String::new(),
        note: change.note.clone(),
        at,
    });
    payment.updated_at = at;
    if !payment.is_tombstone() {
        payment.status = Status::InDoubt;
    }
    payment.operations.len() - 1
}

/// Ends an operation and books what follows. Tells what others are to hear, with `sequence` already counted.
pub(crate) fn conclude(payment: &mut Payment, place: usize, verdict: Verdict, at: Timestamp) -> Option<Happening> {
    let op = payment.operations[place].op;
    let said = payment.operations[place].said;
    let amount = moved(payment, op, said);
    let tombstone = payment.is_tombstone();
    let had_hold = payment.captured == Amount::ZERO;
    let operation = &mut payment.operations[place];
    operation.amount = amount;
    let happening = match verdict {
        Verdict::Refused(reason) => {
            operation.outcome = Outcome::Refused;
            operation.reason = reason;
            // A second authorisation changes nothing for the first.
            (op == Op::Authorize && place == 0).then_some(Happening::Refused)
        }
        Verdict::Done => {
            operation.outcome = Outcome::Done;
            book(payment, op, amount, had_hold && !tombstone)
        }
    };
    payment.updated_at = at;
    if !tombstone {
        payment.status = status_of(payment);
    }
    if happening.is_some() {
        payment.sequence += 1;
    }
    happening
}

fn book(payment: &mut Payment, op: Op, amount: Amount, had_hold: bool) -> Option<Happening> {
    match op {
        Op::Authorize if payment.capture => {
            payment.captured = payment.amount;
            Some(Happening::Captured)
        }
        Op::Authorize => None,
        Op::Capture => {
            payment.captured = amount;
            Some(Happening::Captured)
        }
        Op::Void => {
            let voids = |known: &&Operation| known.op == Op::Void && known.outcome == Outcome::Done;
            let first = payment.operations.iter().filter(voids).count() == 1;
            payment.refunded = payment.captured;
            let held = had_hold && first && !was_refused(payment);
            (held || amount > Amount::ZERO).then_some(Happening::Voided)
        }
        Op::Refund => {
            payment.refunded = Amount::from_minor(payment.refunded.minor() + amount.minor());
            Some(Happening::Refunded)
        }
    }
}

fn begin(change: &Change, id: PaymentId, at: Timestamp) -> Payment {
    let tombstone = Terms {
        kind: Kind::Order,
        amount: Amount::ZERO,
        currency: commerce::Currency::default(),
        customer_id: None,
        method: Method::Card,
        capture: false,
    };
    let (terms, status) = match &change.act {
        Act::Authorize(terms) => (terms.clone(), Status::InDoubt),
        Act::Capture(_) | Act::Void | Act::Refund { .. } => (tombstone, Status::Tombstone),
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

fn authorize(method: Method, amount: Amount) -> Judgement {
    match method {
        Method::Cash => Judgement::Decided(Verdict::Done),
        Method::Card => Judgement::Ask(Demand::Charge(amount)),
    }
}

/// The rules on a payment of which nothing is in doubt, or of which all before this operation is settled.
fn rule(payment: &Payment, op: Op, said: Said) -> Judgement {
    let voided = payment.operations.iter().any(|known| known.op == Op::Void && known.outcome == Outcome::Done);
    let demand = match op {
        Op::Authorize => return refused("the order has a payment already"),
        Op::Void if was_refused(payment) => return Judgement::Decided(Verdict::Done),
        Op::Void if payment.captured == Amount::ZERO && !voided => Demand::LetGo(payment.amount),
        Op::Void if payment.left() == Amount::ZERO => return Judgement::Decided(Verdict::Done),
        Op::Void => Demand::GiveBack(payment.left()),
        _ if was_refused(payment) => return refused("the payment was refused"),
        Op::Capture if payment.captured > Amount::ZERO => return refused("it is captured already"),
        _ if voided => return refused("the payment was voided"),
        Op::Capture if said.amount > payment.amount => {
            return refused(&format!("{said} is more than the {} authorised", payment.amount));
        }
        Op::Capture => {
            let amount = moved(payment, op, said);
            let rest = Amount::from_minor(payment.amount.minor() - amount.minor());
            Demand::Capture { amount, rest }
        }
        Op::Refund if payment.captured == Amount::ZERO => return refused("nothing is captured"),
        Op::Refund if said.up_to && payment.left() == Amount::ZERO => {
            return refused(&format!("nothing is left of {}", payment.captured));
        }
        Op::Refund if !said.up_to && said.amount > payment.left() => {
            return refused(&format!(
                "a refund of {said} is more than the {} left of {}",
                payment.left(),
                payment.captured
            ));
        }
        Op::Refund => Demand::GiveBack(moved(payment, op, said)),
    };
    match payment.method {
        Method::Cash => Judgement::Decided(Verdict::Done),
        Method::Card => Judgement::Ask(demand),
    }
}

/// What an operation moves: captures and voids may mean "everything", refunds "what is left".
fn moved(payment: &Payment, op: Op, said: Said) -> Amount {
    match op {
        Op::Capture if said.amount == Amount::ZERO => payment.amount,
        Op::Void => payment.left(),
        Op::Refund if said.up_to => said.amount.min(payment.left()),
        _ => said.amount,
    }
}

fn was_refused(payment: &Payment) -> bool {
    payment.operations.first().is_some_and(|first| first.op == Op::Authorize && first.outcome == Outcome::Refused)
}

fn status_of(payment: &Payment) -> Status {
    let voided = payment.operations.iter().any(|known| {
        known.op == Op::Void
            && known.outcome == Outcome::Done
            && (payment.captured == Amount::ZERO || known.amount > Amount::ZERO)
    });
    if payment.first_in_doubt().is_some() {
        Status::InDoubt
    } else if was_refused(payment) {
        Status::Refused
    } else if voided {
        Status::Voided
    } else if payment.captured == Amount::ZERO {
        Status::Authorised
    } else if payment.refunded == Amount::ZERO {
        Status::Captured
    } else if payment.refunded < payment.captured {
        Status::PartlyRefunded
    } else {
        Status::Refunded
    }
}

fn differs(payment: &Payment, place: usize, act: &Act) -> Option<String> {
    let known = &payment.operations[place];
    let what = format!("{} {}", known.op.as_str(), known.op_id);
    if known.said != act.said() {
        return Some(format!("{what} was asked for {} before, now for {}", known.said, act.said()));
    }
    match act {
        Act::Authorize(terms) if terms.currency != payment.currency => {
            Some(format!("{what} was asked for in {} before, now in {}", payment.currency, terms.currency))
        }
        Act::Authorize(terms) if terms.method != payment.method => Some(format!(
            "{what} was asked for by {} before, now by {}",
            payment.method.as_str(),
            terms.method.as_str()
        )),
        _ => None,
    }
}

fn refused(why: &str) -> Judgement {
    Judgement::Decided(Verdict::Refused(why.to_owned()))
}

fn no_payment(change: &Change) -> Judgement {
    Judgement::Invalid(format!("order {} has no payment", change.order_id))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
