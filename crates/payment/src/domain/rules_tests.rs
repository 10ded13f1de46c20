//! The rules hold under every order of operations.

use commerce::{Amount, Currency, OrderId, PaymentId, Timestamp};
use proptest::prelude::*;

use super::*;

fn authorize(minor: i64, method: Method, capture: bool) -> Action {
    Action::Authorize(Terms {
        kind: PaymentKind::Order,
        amount: Amount::from_minor(minor),
        currency: Currency::EUR,
        customer_id: None,
        method,
        capture,
    })
}

fn request(op_id: u8, action: Action) -> OperationRequest {
    OperationRequest { order_id: OrderId::trusted("o".into()), op_id: op_id.to_string(), action, note: String::new() }
}

/// Performs an operation as the executor does, with a provider that answers `resolution`, or nothing.
fn perform(
    payment: &mut Option<Payment>,
    request: &OperationRequest,
    resolution: Option<Resolution>,
) -> (Decision, Option<PaymentEvent>) {
    let decision = decide(payment.as_ref(), request);
    let resolution = match &decision {
        Decision::Repeat(_) | Decision::Invalid(_) | Decision::TooLate(_) => {
            return (decision, None);
        }
        Decision::Resolved(resolution) => Some(resolution.clone()),
        Decision::Ask(_) => resolution,
        Decision::Wait => None,
    };
    let index = record(payment, request, Timestamp::default(), PaymentId::new);
    let event = resolution.and_then(|resolution| {
        resolve(payment.as_mut().expect("just recorded"), index, resolution, Timestamp::default())
    });
    (decision, event)
}

fn done(payment: &mut Option<Payment>, op_id: u8, action: Action) -> (Decision, Option<PaymentEvent>) {
    perform(payment, &request(op_id, action), Some(Resolution::Done))
}

fn refund(minor: i64) -> Action {
    Action::Refund { amount: Amount::from_minor(minor), up_to: false }
}

fn refund_up_to(minor: i64) -> Action {
    Action::Refund { amount: Amount::from_minor(minor), up_to: true }
}

fn state(payment: &Option<Payment>) -> (PaymentStatus, i64, i64) {
    let payment = payment.as_ref().expect("a payment");
    (payment.status, payment.captured.minor(), payment.refunded.minor())
}

#[test]
fn refunds_never_exceed_what_is_captured_and_the_rest_can_be_voided() {
    let mut payment = None;
    assert_eq!(done(&mut payment, 1, authorize(100, Method::Card, true)).1, Some(PaymentEvent::Captured));
    assert_eq!(done(&mut payment, 1, refund(60)).1, Some(PaymentEvent::Refunded));
    assert_eq!(state(&payment), (PaymentStatus::PartlyRefunded, 100, 60));
    let (decision, event) = done(&mut payment, 2, refund(41));
    assert!(matches!(decision, Decision::Resolved(Resolution::Refused(_))) && event.is_none());
    assert_eq!(done(&mut payment, 1, Action::Void).1, Some(PaymentEvent::Voided));
    assert_eq!(state(&payment), (PaymentStatus::Voided, 100, 100));
    assert_eq!(done(&mut payment, 1, Action::Void), (Decision::Repeat(3), None));
    assert_eq!(done(&mut payment, 2, Action::Void), (Decision::Resolved(Resolution::Done), None));
    assert_eq!(payment.expect("a payment").sequence, 3);
}

#[test]
fn a_refund_up_to_gives_what_is_left_and_a_repeat_must_request_the_same() {
    let mut payment = None;
    done(&mut payment, 1, authorize(100, Method::Card, true));
    done(&mut payment, 1, refund(60));
    let (decision, event) = done(&mut payment, 2, refund_up_to(60));
    let forty = Amount::from_minor(40);
    assert_eq!((decision, event), (Decision::Ask(ProviderRequest::Refund(forty)), Some(PaymentEvent::Refunded)));
    assert_eq!(payment.as_ref().expect("a payment").operations[2].amount, forty);
    assert_eq!(state(&payment), (PaymentStatus::Refunded, 100, 100));
    assert_eq!(done(&mut payment, 2, refund_up_to(60)), (Decision::Repeat(2), None));
    for other in [refund_up_to(40), refund(60), refund(40)] {
        assert!(matches!(done(&mut payment, 2, other).0, Decision::Invalid(_)));
    }
    assert!(matches!(done(&mut payment, 1, refund_up_to(60)).0, Decision::Invalid(_)));
    let (decision, event) = done(&mut payment, 3, refund_up_to(1));
    assert!(matches!(decision, Decision::Resolved(Resolution::Refused(_))) && event.is_none());
    assert_eq!(payment.expect("a payment").operations[3].amount, Amount::ZERO);
}

#[test]
fn a_refund_up_to_that_waits_gives_what_is_left_when_its_turn_comes() {
    let mut payment = None;
    done(&mut payment, 1, authorize(100, Method::Card, true));
    perform(&mut payment, &request(1, refund(70)), None);
    assert_eq!(done(&mut payment, 2, refund_up_to(70)), (Decision::Wait, None));
    let mut resolved = payment.expect("a payment");
    resolve(&mut resolved, 1, Resolution::Done, Timestamp::default());
    assert_eq!(decide_recorded(&resolved, 2), Decision::Ask(ProviderRequest::Refund(Amount::from_minor(30))));
    resolve(&mut resolved, 2, Resolution::Done, Timestamp::default());
    assert_eq!((resolved.operations[2].amount.minor(), resolved.status), (30, PaymentStatus::Refunded));
}

#[test]
fn a_void_after_everything_was_refunded_changes_nothing() {
    let mut payment = None;
    done(&mut payment, 1, authorize(100, Method::Cash, false));
    done(&mut payment, 1, refund(100));
    assert_eq!(done(&mut payment, 1, Action::Void), (Decision::Resolved(Resolution::Done), None));
    assert_eq!(state(&payment), (PaymentStatus::Refunded, 100, 100));
}

#[test]
fn an_authorisation_is_captured_once_or_let_go() {
    let mut payment = None;
    assert_eq!(done(&mut payment, 1, authorize(100, Method::Card, false)).1, None);
    assert_eq!(state(&payment), (PaymentStatus::Authorised, 0, 0));
    let mut voided = payment.clone();
    assert_eq!(done(&mut voided, 1, Action::Void).1, Some(PaymentEvent::Voided));
    assert_eq!(state(&voided), (PaymentStatus::Voided, 0, 0));
    let refused = |decision| matches!(decision, Decision::Resolved(Resolution::Refused(_)));
    assert!(refused(done(&mut voided, 1, Action::Capture(None)).0));
    assert!(refused(done(&mut payment, 1, Action::Capture(Some(Amount::from_minor(101)))).0));
    assert_eq!(done(&mut payment, 2, Action::Capture(None)).1, Some(PaymentEvent::Captured));
    assert!(refused(done(&mut payment, 3, Action::Capture(None)).0));
    assert_eq!(state(&payment), (PaymentStatus::Captured, 100, 0));
}

#[test]
fn a_void_that_comes_first_refuses_the_late_authorise_for_ever() {
    let mut payment = None;
    assert_eq!(done(&mut payment, 1, Action::Void), (Decision::Resolved(Resolution::Done), None));
    for op_id in [1, 2] {
        let (decision, _) = done(&mut payment, op_id, authorize(100, Method::Card, true));
        assert!(matches!(decision, Decision::TooLate(_)));
    }
    assert!(matches!(done(&mut payment, 1, refund(1)).0, Decision::Invalid(_)));
    assert_eq!(state(&payment), (PaymentStatus::Tombstone, 0, 0));
}

#[test]
fn what_follows_a_doubt_waits_until_it_is_resolved() {
    let mut payment = None;
    perform(&mut payment, &request(1, authorize(100, Method::Card, true)), None);
    assert_eq!(done(&mut payment, 1, Action::Void), (Decision::Wait, None));
    let mut resolved = payment.expect("a payment");
    assert_eq!(resolved.status, PaymentStatus::InDoubt);
    let event = resolve(&mut resolved, 0, Resolution::Done, Timestamp::default());
    assert_eq!((event, resolved.first_in_doubt()), (Some(PaymentEvent::Captured), Some(1)));
    assert_eq!(decide_recorded(&resolved, 1), Decision::Ask(ProviderRequest::Refund(Amount::from_minor(100))));
    resolve(&mut resolved, 1, Resolution::Done, Timestamp::default());
    assert_eq!((resolved.status, resolved.refundable()), (PaymentStatus::Voided, Amount::ZERO));
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        (prop_oneof![Just(100_i64), Just(70)], any::<bool>(), any::<bool>()).prop_map(|(minor, cash, capture)| {
            authorize(minor, if cash { Method::Cash } else { Method::Card }, capture)
        }),
        prop_oneof![Just(None), (1_i64..130).prop_map(|minor| Some(Amount::from_minor(minor)))]
            .prop_map(Action::Capture),
        Just(Action::Void),
        (1_i64..130).prop_map(refund),
        (1_i64..130).prop_map(refund_up_to),
    ]
}

fn resolutions() -> impl Strategy<Value = Option<Resolution>> {
    prop_oneof![4 => Just(Some(Resolution::Done)), 1 => Just(Some(Resolution::Refused("no".into()))), 2 => Just(None)]
}

/// Resolves the first operation in doubt as the resolver does.
fn resolve_first(payment: &mut Payment, resolution: Resolution) -> bool {
    let Some(index) = payment.first_in_doubt() else {
        return false;
    };
    let resolution = match decide_recorded(payment, index) {
        Decision::Resolved(resolution) => resolution,
        _ => resolution,
    };
    resolve(payment, index, resolution, Timestamp::default());
    true
}

fn holds(payment: &Payment) {
    assert!(payment.refunded >= Amount::ZERO && payment.refunded <= payment.captured);
    assert!(payment.captured <= payment.amount);
    let moved = |wanted: &[Op]| -> i64 {
        let done = payment.operations.iter().filter(|o| o.outcome == OperationOutcome::Done && wanted.contains(&o.op));
        done.map(|o| o.amount.minor()).sum()
    };
    assert_eq!(moved(&[Op::Void, Op::Refund]), payment.refunded.minor());
    for refund in payment.operations.iter().filter(|o| o.op == Op::Refund && o.outcome == OperationOutcome::Done) {
        assert!(refund.amount > Amount::ZERO && refund.amount <= refund.requested.amount);
        assert!(refund.requested.up_to || refund.amount == refund.requested.amount);
    }
    assert_eq!(payment.status == PaymentStatus::InDoubt, payment.first_in_doubt().is_some());
    if matches!(
        payment.status,
        PaymentStatus::Voided | PaymentStatus::Refunded | PaymentStatus::Refused | PaymentStatus::Tombstone
    ) {
        assert_eq!(payment.refundable(), Amount::ZERO);
    }
}

proptest! {
    #[test]
    fn whatever_is_requested_in_whatever_order_the_amounts_balance_and_repeats_get_the_same(
        steps in prop::collection::vec((0_u8..4, actions(), resolutions(), any::<bool>()), 1..40)
    ) {
        let mut payment = None;
        let mut asked: Vec<OperationRequest> = Vec::new();
        for (op_id, action, resolution, resolves) in steps {
            let request = request(op_id, action);
            let before = payment.as_ref().map_or(0, |payment: &Payment| payment.sequence);
            let left = payment.as_ref().map_or(Amount::ZERO, Payment::refundable);
            let (decision, event) = perform(&mut payment, &request, resolution.clone());
            if request.action.requested_amount().up_to && matches!(decision, Decision::Resolved(_) | Decision::Ask(_)) {
                let refused = matches!(decision, Decision::Resolved(Resolution::Refused(_)));
                prop_assert_eq!(refused, left == Amount::ZERO);
                let last = payment.as_ref().and_then(|payment| payment.operations.last()).expect("just recorded");
                prop_assert_eq!(last.amount, request.action.requested_amount().amount.min(left));
            }
            if let Some(payment) = &mut payment {
                prop_assert_eq!(payment.sequence, before + i64::from(event.is_some()));
                holds(payment);
                if resolves {
                    resolve_first(payment, resolution.unwrap_or(Resolution::Done));
                    holds(payment);
                }
            }
            asked.push(request);
        }
        if let Some(payment) = &mut payment {
            while resolve_first(payment, Resolution::Done) {}
            holds(payment);
        }
        // A repeat of every request is answered from the recorded operations: nothing is recorded, and the provider is not called.
        let before = payment.clone();
        for request in &asked {
            let decision = decide(payment.as_ref(), request);
            let known = matches!(decision, Decision::Repeat(_) | Decision::Invalid(_) | Decision::TooLate(_));
            // Only a request that was not recorded the first time may be possible now.
            let recorded = before.as_ref().and_then(|p| Some((p, p.find(request.action.op(), &request.op_id)?)));
            prop_assert!(known || recorded.is_none());
            // A repeat with the same amount gets the first result; only a tombstone ignores the amount.
            if let Some((before, index)) = recorded.filter(|(before, _)| !before.is_tombstone()) {
                let same = before.operations[index].requested == request.action.requested_amount();
                prop_assert!(same || matches!(decision, Decision::Invalid(_)));
                prop_assert!(matches!(decision, Decision::Invalid(_)) || decision == Decision::Repeat(index));
                prop_assert!(!same || request.action.op() == Op::Authorize || decision == Decision::Repeat(index));
            }
        }
    }
}
