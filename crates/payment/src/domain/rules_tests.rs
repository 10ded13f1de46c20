//! The rules under every order of operations.

use commerce::{Amount, Currency, OrderId, PaymentId, Timestamp};
use proptest::prelude::*;

use super::*;

fn authorize(minor: i64, method: Method, capture: bool) -> Act {
    Act::Authorize(Terms {
        kind: Kind::Order,
        amount: Amount::from_minor(minor),
        currency: Currency::EUR,
        customer_id: None,
        method,
        capture,
    })
}

fn change(op_id: u8, act: Act) -> Change {
    Change { order_id: OrderId::trusted("o".into()), op_id: op_id.to_string(), act, note: String::new() }
}

/// Does a change as the till does, with a provider that says `verdict`, or nothing.
fn perform(payment: &mut Option<Payment>, change: &Change, verdict: Option<Verdict>) -> (Judgement, Option<Happening>) {
    let judgement = judge(payment.as_ref(), change);
    let verdict = match &judgement {
        Judgement::Repeat(_) | Judgement::Invalid(_) | Judgement::TooLate(_) => {
            return (judgement, None);
        }
        Judgement::Decided(verdict) => Some(verdict.clone()),
        Judgement::Ask(_) => verdict,
        Judgement::Wait => None,
    };
    let place = record(payment, change, Timestamp::default(), PaymentId::new);
    let happening = verdict
        .and_then(|verdict| conclude(payment.as_mut().expect("just recorded"), place, verdict, Timestamp::default()));
    (judgement, happening)
}

fn done(payment: &mut Option<Payment>, op_id: u8, act: Act) -> (Judgement, Option<Happening>) {
    perform(payment, &change(op_id, act), Some(Verdict::Done))
}

fn refund(minor: i64) -> Act {
    Act::Refund { amount: Amount::from_minor(minor), up_to: false }
}

fn refund_up_to(minor: i64) -> Act {
    Act::Refund { amount: Amount::from_minor(minor), up_to: true }
}

fn state(payment: &Option<Payment>) -> (Status, i64, i64) {
    let payment = payment.as_ref().expect("a payment");
    (payment.status, payment.captured.minor(), payment.refunded.minor())
}

#[test]
fn refunds_never_exceed_what_is_captured_and_the_rest_can_be_voided() {
    let mut payment = None;
    assert_eq!(done(&mut payment, 1, authorize(100, Method::Card, true)).1, Some(Happening::Captured));
    assert_eq!(done(&mut payment, 1, refund(60)).1, Some(Happening::Refunded));
    assert_eq!(state(&payment), (Status::PartlyRefunded, 100, 60));
    let (judgement, happening) = done(&mut payment, 2, refund(41));
    assert!(matches!(judgement, Judgement::Decided(Verdict::Refused(_))) && happening.is_none());
    assert_eq!(done(&mut payment, 1, Act::Void).1, Some(Happening::Voided));
    assert_eq!(state(&payment), (Status::Voided, 100, 100));
    assert_eq!(done(&mut payment, 1, Act::Void), (Judgement::Repeat(3), None));
    assert_eq!(done(&mut payment, 2, Act::Void), (Judgement::Decided(Verdict::Done), None));
    assert_eq!(payment.expect("a payment").sequence, 3);
}

#[test]
fn a_refund_up_to_gives_what_is_left_and_a_repeat_must_say_the_same() {
    let mut payment = None;
    done(&mut payment, 1, authorize(100, Method::Card, true));
    done(&mut payment, 1, refund(60));
    let (judgement, happening) = done(&mut payment, 2, refund_up_to(60));
    let forty = Amount::from_minor(40);
    assert_eq!((judgement, happening), (Judgement::Ask(Demand::GiveBack(forty)), Some(Happening::Refunded)));
    assert_eq!(payment.as_ref().expect("a payment").operations[2].amount, forty);
    assert_eq!(state(&payment), (Status::Refunded, 100, 100));
    assert_eq!(done(&mut payment, 2, refund_up_to(60)), (Judgement::Repeat(2), None));
    for other in [refund_up_to(40), refund(60), refund(40)] {
        assert!(matches!(done(&mut payment, 2, other).0, Judgement::Invalid(_)));
    }
    assert!(matches!(done(&mut payment, 1, refund_up_to(60)).0, Judgement::Invalid(_)));
    let (judgement, happening) = done(&mut payment, 3, refund_up_to(1));
    assert!(matches!(judgement, Judgement::Decided(Verdict::Refused(_))) && happening.is_none());
    assert_eq!(payment.expect("a payment").operations[3].amount, Amount::ZERO);
}

#[test]
fn a_refund_up_to_that_waits_gives_what_is_left_when_its_turn_comes() {
    let mut payment = None;
    done(&mut payment, 1, authorize(100, Method::Card, true));
    perform(&mut payment, &change(1, refund(70)), None);
    assert_eq!(done(&mut payment, 2, refund_up_to(70)), (Judgement::Wait, None));
    let mut settled = payment.expect("a payment");
    conclude(&mut settled, 1, Verdict::Done, Timestamp::default());
    assert_eq!(demand_of(&settled, 2), Judgement::Ask(Demand::GiveBack(Amount::from_minor(30))));
    conclude(&mut settled, 2, Verdict::Done, Timestamp::default());
    assert_eq!((settled.operations[2].amount.minor(), settled.status), (30, Status::Refunded));
}

#[test]
fn a_void_after_everything_was_refunded_changes_nothing() {
    let mut payment = None;
    done(&mut payment, 1, authorize(100, Method::Cash, false));
    done(&mut payment, 1, refund(100));
    assert_eq!(done(&mut payment, 1, Act::Void), (Judgement::Decided(Verdict::Done), None));
    assert_eq!(state(&payment), (Status::Refunded, 100, 100));
}

#[test]
fn an_authorisation_is_captured_once_or_let_go() {
    let mut payment = None;
    assert_eq!(done(&mut payment, 1, authorize(100, Method::Card, false)).1, None);
    assert_eq!(state(&payment), (Status::Authorised, 0, 0));
    let mut voided = payment.clone();
    assert_eq!(done(&mut voided, 1, Act::Void).1, Some(Happening::Voided));
    assert_eq!(state(&voided), (Status::Voided, 0, 0));
    let refused = |judgement| matches!(judgement, Judgement::Decided(Verdict::Refused(_)));
    assert!(refused(done(&mut voided, 1, Act::Capture(None)).0));
    assert!(refused(done(&mut payment, 1, Act::Capture(Some(Amount::from_minor(101)))).0));
    assert_eq!(done(&mut payment, 2, Act::Capture(None)).1, Some(Happening::Captured));
    assert!(refused(done(&mut payment, 3, Act::Capture(None)).0));
    assert_eq!(state(&payment), (Status::Captured, 100, 0));
}

#[test]
fn a_void_that_comes_first_refuses_the_late_authorise_for_ever() {
    let mut payment = None;
    assert_eq!(done(&mut payment, 1, Act::Void), (Judgement::Decided(Verdict::Done), None));
    for op_id in [1, 2] {
        let (judgement, _) = done(&mut payment, op_id, authorize(100, Method::Card, true));
        assert!(matches!(judgement, Judgement::TooLate(_)));
    }
    assert!(matches!(done(&mut payment, 1, refund(1)).0, Judgement::Invalid(_)));
    assert_eq!(state(&payment), (Status::Tombstone, 0, 0));
}

#[test]
fn what_follows_a_doubt_waits_until_it_is_settled() {
    let mut payment = None;
    perform(&mut payment, &change(1, authorize(100, Method::Card, true)), None);
    assert_eq!(done(&mut payment, 1, Act::Void), (Judgement::Wait, None));
    let mut settled = payment.expect("a payment");
    assert_eq!(settled.status, Status::InDoubt);
    let told = conclude(&mut settled, 0, Verdict::Done, Timestamp::default());
    assert_eq!((told, settled.first_in_doubt()), (Some(Happening::Captured), Some(1)));
    assert_eq!(demand_of(&settled, 1), Judgement::Ask(Demand::GiveBack(Amount::from_minor(100))));
    conclude(&mut settled, 1, Verdict::Done, Timestamp::default());
    assert_eq!((settled.status, settled.left()), (Status::Voided, Amount::ZERO));
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        (prop_oneof![Just(100_i64), Just(70)], any::<bool>(), any::<bool>()).prop_map(|(minor, cash, capture)| {
            authorize(minor, if cash { Method::Cash } else { Method::Card }, capture)
        }),
        prop_oneof![Just(None), (1_i64..130).prop_map(|minor| Some(Amount::from_minor(minor)))].prop_map(Act::Capture),
        Just(Act::Void),
        (1_i64..130).prop_map(refund),
        (1_i64..130).prop_map(refund_up_to),
    ]
}

fn verdicts() -> impl Strategy<Value = Option<Verdict>> {
    prop_oneof![4 => Just(Some(Verdict::Done)), 1 => Just(Some(Verdict::Refused("no".into()))), 2 => Just(None)]
}

/// Settles the first doubt as the resolver does.
fn settle(payment: &mut Payment, verdict: Verdict) -> bool {
    let Some(place) = payment.first_in_doubt() else {
        return false;
    };
    let verdict = match demand_of(payment, place) {
        Judgement::Decided(verdict) => verdict,
        _ => verdict,
    };
    conclude(payment, place, verdict, Timestamp::default());
    true
}

fn holds(payment: &Payment) {
    assert!(payment.refunded >= Amount::ZERO && payment.refunded <= payment.captured);
    assert!(payment.captured <= payment.amount);
    let moved = |wanted: &[Op]| -> i64 {
        let done = payment.operations.iter().filter(|o| o.outcome == Outcome::Done && wanted.contains(&o.op));
        done.map(|o| o.amount.minor()).sum()
    };
    assert_eq!(moved(&[Op::Void, Op::Refund]), payment.refunded.minor());
    for refund in payment.operations.iter().filter(|o| o.op == Op::Refund && o.outcome == Outcome::Done) {
        assert!(refund.amount > Amount::ZERO && refund.amount <= refund.said.amount);
        assert!(refund.said.up_to || refund.amount == refund.said.amount);
    }
    assert_eq!(payment.status == Status::InDoubt, payment.first_in_doubt().is_some());
    if matches!(payment.status, Status::Voided | Status::Refunded | Status::Refused | Status::Tombstone) {
        assert_eq!(payment.left(), Amount::ZERO);
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_in_whatever_order_the_books_balance_and_repeats_say_the_same(
        steps in prop::collection::vec((0_u8..4, acts(), verdicts(), any::<bool>()), 1..40)
    ) {
        let mut payment = None;
        let mut asked: Vec<Change> = Vec::new();
        for (op_id, act, verdict, settles) in steps {
            let change = change(op_id, act);
            let before = payment.as_ref().map_or(0, |payment: &Payment| payment.sequence);
            let left = payment.as_ref().map_or(Amount::ZERO, Payment::left);
            let (judgement, told) = perform(&mut payment, &change, verdict.clone());
            if change.act.said().up_to && matches!(judgement, Judgement::Decided(_) | Judgement::Ask(_)) {
                let refused = matches!(judgement, Judgement::Decided(Verdict::Refused(_)));
                prop_assert_eq!(refused, left == Amount::ZERO);
                let last = payment.as_ref().and_then(|payment| payment.operations.last()).expect("just recorded");
                prop_assert_eq!(last.amount, change.act.said().amount.min(left));
            }
            if let Some(payment) = &mut payment {
                prop_assert_eq!(payment.sequence, before + i64::from(told.is_some()));
                holds(payment);
                if settles {
                    settle(payment, verdict.unwrap_or(Verdict::Done));
                    holds(payment);
                }
            }
            asked.push(change);
        }
        if let Some(payment) = &mut payment {
            while settle(payment, Verdict::Done) {}
            holds(payment);
        }
        // Asked again, everything is answered from the books: nothing is written, nobody is asked.
        let books = payment.clone();
        for change in &asked {
            let judgement = judge(payment.as_ref(), change);
            let known = matches!(judgement, Judgement::Repeat(_) | Judgement::Invalid(_) | Judgement::TooLate(_));
            // Only what could not be written down the first time may be possible now.
            let recorded = books.as_ref().and_then(|p| Some((p, p.find(change.act.op(), &change.op_id)?)));
            prop_assert!(known || recorded.is_none());
            // The first answer, for those who say the same; only the tombstone does not listen to what is said.
            if let Some((books, place)) = recorded.filter(|(books, _)| !books.is_tombstone()) {
                let same = books.operations[place].said == change.act.said();
                prop_assert!(same || matches!(judgement, Judgement::Invalid(_)));
                prop_assert!(matches!(judgement, Judgement::Invalid(_)) || judgement == Judgement::Repeat(place));
                prop_assert!(!same || change.act.op() == Op::Authorize || judgement == Judgement::Repeat(place));
            }
        }
    }
}
