//! All checks but those of events, in the order in which they are told; and those of orders and money.

use std::collections::HashMap;

use bus::outbox::OutboxEvent;
use commerce::Timestamp;
use order::audit::{OrderFact, RefundFact};

use super::{Check, facts::Facts, goods};

pub(crate) fn all(facts: &Facts) -> Vec<Check> {
    vec![
        orders_are_terminal_or_driven(facts),
        confirmed_orders_are_paid_once(facts),
        payments_belong_to_orders(facts),
        payments_from_outside_are_whole(facts),
        cancelled_orders_hold_no_money(facts),
        withdrawn_orders_hold_nothing(facts),
        goods::stock_follows_orders(facts),
        goods::reservations_belong_to_orders(facts),
        goods::levels_follow_the_ledger(facts),
        goods::transit_is_what_left_and_has_not_come(facts),
        goods::reserved_is_what_is_held(facts),
        reports_equal_the_orders(facts),
        totals_are_sums(facts),
        payments_follow_their_operations(facts),
        goods::sales_in_the_ledger_are_those_of_orders(facts),
        numbers_are_given_once(facts),
        stores_agree_with_their_events(facts),
        stores_agree_with_themselves(facts),
        payments_are_as_their_orders_say(facts),
        refunds_are_as_their_returns_say(facts),
    ]
}

fn orders_are_terminal_or_driven(facts: &Facts) -> Check {
    let mut check = Check::new("orders are terminal, or open with a live saga");
    for order in facts.orders.values() {
        check.pending += usize::from(order.open || order.refunds_pending > 0);
        let pending = order.status == "pending";
        check.saw(if pending && !order.open {
            Some(format!("order {} is pending although its saga has no next step", order.id))
        } else if facts.is_abandoned(order) {
            Some(format!("order {} is open but no replica has driven it since {}", order.id, order.lease_until))
        } else {
            None
        });
    }
    check
}

fn is_charged(order: &OrderFact) -> bool {
    order.payment_method != "on_account" && order.total.minor() > 0
}

fn confirmed_orders_are_paid_once(facts: &Facts) -> Check {
    let mut check = Check::new("confirmed orders have one captured payment of their exact total");
    let confirmed = facts.orders.values().filter(|o| o.was_confirmed && o.status != "cancelled");
    for order in confirmed {
        if facts.is_under_way(order) {
            check.pending += 1;
            continue;
        }
        let payment = facts.payments.get(&order.id);
        let captured = payment.map_or(0, |payment| payment.captured);
        let expected = if is_charged(order) { order.total.minor() } else { 0 };
        check.saw(
            (captured != expected)
                .then(|| format!("order {}: captured {captured}, its total is {expected} (minor units)", order.id)),
        );
        let refunded = payment.map_or(0, |payment| payment.refunded);
        if refunded < order.refunded.minor() {
            check.fail(Some(format!(
                "order {}: its returns refund {}, the payment says {refunded} (minor units)",
                order.id,
                order.refunded.minor()
            )));
        }
    }
    check
}

fn payments_belong_to_orders(facts: &Facts) -> Check {
    let mut check = Check::new("payments belong to orders, and give back no more than was taken");
    for payment in facts.payments.values() {
        if payment.kind != "order" {
            continue;
        }
        let young = facts.is_young(Timestamp::from_micros(payment.updated_at));
        let order = facts.orders.get(&payment.order_id);
        check.pending += usize::from(young);
        check.saw(if payment.refunded > payment.captured || payment.captured > payment.amount {
            Some(format!(
                "payment of order {}: captured {}, refunded {}, authorised {}",
                payment.order_id, payment.captured, payment.refunded, payment.amount
            ))
        } else if order.is_none() && payment.captured > payment.refunded && !young {
            Some(format!("payment of {}: there is no such order", payment.order_id))
        } else {
            None
        });
    }
    check
}

/// Payments under ids that no order has, as older fleets' programs make them: each once, and refunded up to what was taken.
fn payments_from_outside_are_whole(facts: &Facts) -> Check {
    let mut check =
        Check::new("payments from outside (ids of no order here) stand once, and give back no more than was taken");
    for payment in facts.payments.values().filter(|payment| payment.kind != "order") {
        let named = payment.order_id.starts_with("legacy:");
        let wrong = !named || payment.refunded > payment.captured || payment.captured > payment.amount;
        check.saw(wrong.then(|| {
            format!(
                "payment {}: captured {}, refunded {}, authorised {}",
                payment.order_id, payment.captured, payment.refunded, payment.amount
            )
        }));
    }
    check
}

fn withdrawn_orders_hold_nothing(facts: &Facts) -> Check {
    let mut check = Check::new("withdrawn orders are cancelled, or all goods and money are given back");
    for order in facts.orders.values() {
        let Some(is_done) = order.withdrawn else { continue };
        if !is_done || facts.is_under_way(order) {
            check.pending += 1;
            continue;
        }
        let kept = facts.payments.get(&order.id).map_or(0, |payment| payment.captured - payment.refunded);
        let stands = order.status != "cancelled" && (order.kept_pieces > 0 || kept > 0);
        check.saw(stands.then(|| {
            let OrderFact { id, status, kept_pieces, .. } = order;
            format!(
                "order {id} was withdrawn, but is {status} with {kept_pieces} pieces and {kept} minor units charged"
            )
        }));
    }
    check
}

fn cancelled_orders_hold_no_money(facts: &Facts) -> Check {
    let mut check = Check::new("cancelled orders have no charge left");
    for order in facts.orders.values().filter(|order| order.status == "cancelled") {
        if facts.is_under_way(order) {
            check.pending += 1;
            continue;
        }
        let kept = facts.payments.get(&order.id).map_or(0, |payment| payment.captured - payment.refunded);
        let open = facts.payments.get(&order.id).is_some_and(|p| p.status == "authorised" || p.status == "in_doubt");
        check.saw(
            (kept != 0 || open)
                .then(|| format!("order {} is cancelled but {kept} minor units are still charged", order.id)),
        );
    }
    check
}

/// The total of an order is what it is made of, and the goods come from its place.
fn totals_are_sums(facts: &Facts) -> Check {
    let mut check = Check::new("an order's total = its lines + its adjustments, and its goods are of its place");
    for order in facts.orders.values() {
        let (total, sum) = (order.total.minor(), order.sum);
        check.saw((total != sum).then(|| {
            format!("order {}: its total is {total}, its lines and adjustments make {sum} (minor units)", order.id)
        }));
        let place = facts.reservations.get(&order.id).and_then(|reservation| reservation.place_id.as_ref());
        check.fail(
            place
                .filter(|place| **place != order.place_id)
                .map(|place| format!("order {}: sold at {}, its goods are of {place}", order.id, order.place_id)),
        );
    }
    check
}

fn payments_follow_their_operations(facts: &Facts) -> Check {
    let mut check = Check::new("a payment's amounts and status follow from its operations, and it is charged once");
    for payment in facts.payments.values() {
        let wrong = payment.inconsistency.as_ref();
        check.saw(wrong.map(|wrong| format!("payment of {}: {wrong}", payment.order_id)));
        let asked = Timestamp::from_micros(payment.updated_at);
        let overdue = payment.status == "in_doubt" && facts.is_answer_overdue(asked);
        check.fail(overdue.then(|| format!("payment of {} is in doubt since {asked}", payment.order_id)));
    }
    check
}

fn numbers_are_given_once(facts: &Facts) -> Check {
    let mut check = Check::new("no number of anything is given twice");
    for &(kind, highest, last) in &facts.numbers {
        check.saw((highest > last).then(|| format!("{kind} {highest} exists, and {last} was the last number given")));
    }
    check
}

fn stores_agree_with_their_events(facts: &Facts) -> Check {
    let mut check = Check::new("what is stored is what its last event says");
    for comparison in &facts.comparisons {
        check.count += comparison.compared;
        comparison.differences.iter().for_each(|what| check.fail(Some(what.clone())));
    }
    check
}

/// What is stored twice is stored the same: orders with their returns and carts, levels and what moved goods with the ledger, payments
/// with the calls of their provider.
fn stores_agree_with_themselves(facts: &Facts) -> Check {
    let mut check = Check::new("no store contradicts itself");
    check.count = facts.orders.len() + facts.payments.len() + facts.levels.len();
    facts.contradictions.iter().for_each(|what| check.fail(Some(what.clone())));
    check
}

fn payments_are_as_their_orders_say(facts: &Facts) -> Check {
    let mut check = Check::new("payments have the payer, method and currency of their orders, which show their status");
    // The order service takes in refunds and voids.
    let taken_in = |event: &&OutboxEvent| {
        ["souk.payment.refunded", "souk.payment.voided"].iter().any(|kind| event.payload.contains(kind))
    };
    let events = facts.outboxes.get("payments").into_iter().flat_map(|outbox| &outbox.events).filter(taken_in);
    let told: HashMap<&str, i64> = events.map(|event| (event.subject.as_str(), event.sequence)).collect();
    for payment in facts.payments.values().filter(|payment| payment.kind == "order" && payment.status != "tombstone") {
        let Some(order) = facts.orders.get(&payment.order_id) else { continue };
        let young = facts.is_young(Timestamp::from_micros(payment.updated_at));
        let subject = ("payments".to_owned(), payment.order_id.clone());
        let consumed = facts.order_inbox.last.get(&subject).map_or(0, |(consumed, _)| *consumed);
        let waits = told.get(payment.order_id.as_str()).is_some_and(|last| *last > consumed);
        if facts.is_under_way(order) || young || waits {
            check.pending += 1;
            continue;
        }
        let of_order = (order.customer_id.as_deref(), order.payment_method.as_str(), order.currency.as_str());
        let of_payment = (payment.customer_id.as_deref(), payment.method, payment.currency.as_str());
        let (shown, status) = (&order.payment_status, payment.status);
        check.saw(
            (of_order != of_payment)
                .then(|| format!("order {}: it is of {of_order:?}, its payment of {of_payment:?}", order.id)),
        );
        check.fail(
            order
                .payment_id
                .as_ref()
                .is_some_and(|id| *id != payment.id)
                .then(|| format!("order {}: it names a payment other than {}, which is its own", order.id, payment.id)),
        );
        // The order does not show a doubt: it hears of the outcome.
        check.fail(
            (shown != status && status != "in_doubt")
                .then(|| format!("order {}: it shows its payment as {shown}, and it is {status}", order.id)),
        );
    }
    facts.orders.values().for_each(|order| check.fail(shown_without_payment(facts, order)));
    check
}

/// What an order shows of a payment that there is not.
fn shown_without_payment(facts: &Facts, order: &OrderFact) -> Option<String> {
    let shown = &order.payment_status;
    let there = facts.payments.contains_key(&order.id) || order.status == "cancelled" || facts.is_under_way(order);
    (!there && shown != "none")
        .then(|| format!("order {}: it shows its payment as {shown}, and there is none", order.id))
}

/// The refund of each return is an operation on the payment under the return's id.
fn refunds_are_as_their_returns_say(facts: &Facts) -> Check {
    let mut check = Check::new("refunds of returns are what the payments have refunded");
    for order in facts.orders.values() {
        let payment = facts.payments.get(&order.id);
        for refund in &order.refunds {
            let RefundFact { return_id, amount, status } = refund;
            if *status == "pending" {
                check.pending += 1;
                continue;
            }
            let made = payment.and_then(|payment| {
                payment.operations.iter().find(|made| made.op == "refund" && made.op_id == *return_id)
            });
            let right = match made.map(|made| (made.outcome, made.amount)) {
                None => *status != "done",
                Some(("done", moved)) => *status == "done" && moved == amount.minor(),
                Some(("refused", _)) => *status == "refused",
                Some(_) => false,
            };
            check.saw((!right).then(|| {
                let made = made.map_or("no refund", |made| made.outcome);
                format!(
                    "return {return_id} of order {}: its refund of {amount} is {status}, the payment has {made}",
                    order.id
                )
            }));
        }
    }
    check
}

fn reports_equal_the_orders(facts: &Facts) -> Check {
    let mut check = Check::new("reports equal the orders");
    check.count = facts.reports.rows;
    // Those from before there were summaries are added by and by.
    check.pending = usize::try_from(facts.reports.added).unwrap_or(usize::MAX);
    for difference in &facts.reports.differences {
        check.fail(Some(difference.clone()));
    }
    check
}
