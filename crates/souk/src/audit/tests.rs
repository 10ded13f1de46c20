//! What the audit finds in the facts, and what it tolerates because it was deleted on purpose.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use bus::{
    Dump, Message,
    inbox::InboxDump,
    outbox::{OutboxDump, OutboxEvent},
};
use commerce::{Amount, Timestamp};
use order::audit::OrderFact;
use serde_json::json;

use super::{
    Check, checks, events,
    facts::{Aggregate, Facts},
};

const CHANGES: usize = 0;
const BUS: usize = 1;
const STATES: usize = 3;
const ACTIVITIES: usize = 4;
const EFFECTS: usize = 7;

const KINDS: [&str; 4] =
    ["souk.order.placed", "souk.order.confirmed", "souk.order.status_changed", "souk.order.status_changed"];

fn at(day: i64) -> Timestamp {
    Timestamp::from_micros(day * 24 * 3_600 * 1_000_000)
}

fn event(subject: &str, sequence: i64, kind: &str) -> OutboxEvent {
    let payload = json!({"specversion": "1.0", "type": kind, "sequence": sequence, "time": at(sequence)}).to_string();
    let (topic, subject) = ("orders".to_owned(), subject.to_owned());
    OutboxEvent { topic, subject, sequence, created_at: at(sequence), published: true, payload }
}

fn order(id: &str) -> OrderFact {
    OrderFact {
        id: id.into(),
        customer_id: None,
        place_id: "logistics".into(),
        status: "shipped".into(),
        was_confirmed: true,
        payment_method: "card".into(),
        payment_status: "captured".into(),
        currency: "EUR".into(),
        total: Amount::from_minor(100),
        sum: 100,
        open: false,
        lease_until: at(1),
        created_at: at(1),
        updated_at: at(9),
        last_published_at: at(4),
        goods: BTreeMap::new(),
        restocked: BTreeMap::new(),
        refunded: Amount::ZERO,
        refunds: Vec::new(),
        refunds_pending: 0,
        withdrawn: None,
        kept_pieces: 2,
        last_sequence: 4,
        payment_id: None,
    }
}

/// An order with its four events, one a day, all of them published and on the bus.
fn clean() -> Facts {
    let order = order("o1");
    let events: Vec<OutboxEvent> = (1..).zip(KINDS).map(|(sequence, kind)| event("o1", sequence, kind)).collect();
    let message = |event: &OutboxEvent| Message {
        topic: event.topic.clone(),
        key: event.subject.clone(),
        payload: event.payload.clone(),
    };
    let messages = events.iter().map(message).collect();
    let aggregate =
        Aggregate { last: 4, created_at: Some(order.created_at), last_published: Some(order.last_published_at) };
    Facts {
        running: false,
        now: at(20),
        orders: BTreeMap::from([(order.id.clone(), order)]),
        numbers: vec![("order", 1, 1), ("payment", 0, 0)],
        comparisons: Vec::new(),
        contradictions: Vec::new(),
        reports: order::reports::SalesComparison { rows: 0, added: 0, differences: Vec::new() },
        payments: BTreeMap::new(),
        levels: Vec::new(),
        in_transit: Vec::new(),
        activities: HashSet::new(),
        reservations: BTreeMap::new(),
        released_before: None,
        stock_inbox: InboxDump {
            last: HashMap::from([(("orders".into(), "o1".into()), (4, at(4)))]),
            pruned_before: None,
        },
        order_inbox: InboxDump::default(),
        notification_inbox: InboxDump::default(),
        notifications: HashMap::new(),
        notified_before: None,
        outboxes: BTreeMap::from([("orders", OutboxDump { events, pruned_before: None })]),
        aggregates: BTreeMap::from([(("orders".into(), "o1".into()), aggregate)]),
        log: Some(Dump { messages, ..Dump::default() }),
        handled: HashMap::new(),
    }
}

fn outbox(facts: &mut Facts) -> &mut OutboxDump {
    facts.outboxes.get_mut("orders").expect("the orders")
}

fn log(facts: &mut Facts) -> &mut Dump {
    facts.log.as_mut().expect("a log")
}

/// Which checks fail.
fn failing(facts: &Facts) -> Vec<usize> {
    let checks: Vec<Check> = events::all(facts);
    checks.iter().enumerate().filter(|(_, check)| !check.ok).map(|(n, _)| n).collect()
}

#[test]
fn facts_in_order_are_clean() {
    assert!(failing(&clean()).is_empty());
}

#[test]
fn an_event_that_is_lost_is_found_wherever_it_was() {
    for lost in 0..4 {
        let mut facts = clean();
        outbox(&mut facts).events.remove(lost);
        assert!(failing(&facts).contains(&CHANGES), "the outbox lost event {}", lost + 1);
        let mut facts = clean();
        log(&mut facts).messages.remove(lost);
        assert_eq!(failing(&facts), [BUS], "the bus lost event {}", lost + 1);
    }
}

#[test]
fn old_events_may_be_forgotten_and_only_the_oldest() {
    for gone in 1..=4 {
        let mut facts = clean();
        outbox(&mut facts).events.drain(..gone);
        assert!(failing(&facts).contains(&CHANGES), "nothing was ever forgotten, and {gone} are gone");
        outbox(&mut facts).pruned_before = Some(at(5));
        assert!(failing(&facts).is_empty(), "{gone} were forgotten");
    }
    for lost in 1..4 {
        let mut facts = clean();
        outbox(&mut facts).pruned_before = Some(at(5));
        outbox(&mut facts).events.remove(lost);
        assert!(failing(&facts).contains(&CHANGES), "event {} is lost among those that are kept", lost + 1);
    }
}

#[test]
fn what_came_after_what_was_forgotten_must_be_there() {
    let mut facts = clean();
    outbox(&mut facts).pruned_before = Some(at(1));
    outbox(&mut facts).events.remove(0);
    assert_eq!(failing(&facts), [CHANGES, STATES], "the order is younger than what was forgotten");
    let mut facts = clean();
    outbox(&mut facts).pruned_before = Some(at(3));
    outbox(&mut facts).events.clear();
    assert_eq!(failing(&facts), [CHANGES, STATES], "its last event is younger than that");
}

#[test]
fn a_cancelled_order_has_its_event_unless_all_are_pruned() {
    let mut facts = clean();
    let order = facts.orders.get_mut("o1").expect("the order");
    (order.status, order.last_sequence) = ("cancelled".into(), 4);
    assert_eq!(failing(&facts), [STATES]);
    let cancelled = event("o1", 4, "souk.order.cancelled");
    log(&mut facts).messages[3].payload.clone_from(&cancelled.payload);
    outbox(&mut facts).events[3] = cancelled;
    assert!(failing(&facts).is_empty());
    outbox(&mut facts).pruned_before = Some(at(5));
    outbox(&mut facts).events.drain(..3);
    assert!(failing(&facts).is_empty());
    outbox(&mut facts).events.clear();
    assert!(failing(&facts).is_empty());
}

#[test]
fn a_store_that_lost_the_effect_of_what_it_handled_is_found() {
    let mut facts = clean();
    (log(&mut facts).positions, log(&mut facts).end) = (vec![1, 2, 3, 4], 4);
    facts.handled =
        HashMap::from([(("stock".into(), "orders".into()), 4), (("notification".into(), "orders".into()), 2)]);
    facts.notification_inbox.last.insert(("orders".into(), "o1".into()), (2, at(2)));
    assert!(failing(&facts).is_empty(), "the rest is still to be handled");
    // As after a store was put back to an earlier moment.
    for service in 0..2 {
        let mut older = clean();
        older.log = facts.log.clone();
        older.handled.clone_from(&facts.handled);
        older.notification_inbox.last.clone_from(&facts.notification_inbox.last);
        let inbox = if service == 0 { &mut older.stock_inbox } else { &mut older.notification_inbox };
        inbox.last.insert(("orders".into(), "o1".into()), (1, at(1)));
        assert_eq!(failing(&older), [EFFECTS]);
        let inbox = if service == 0 { &mut older.stock_inbox } else { &mut older.notification_inbox };
        inbox.last.clear();
        assert_eq!(failing(&older), [EFFECTS]);
        let inbox = if service == 0 { &mut older.stock_inbox } else { &mut older.notification_inbox };
        inbox.pruned_before = Some(at(5));
        assert!(failing(&older).is_empty(), "it forgot them");
    }
}

#[test]
fn a_sidecar_may_write_the_envelope_anew_but_not_change_what_it_says() {
    let mut facts = clean();
    let payload = |span: &str, total: &str| {
        format!(r#"{{"type":"souk.order.placed","sequence":1,"traceparent":"{span}","data":{{"total":{total}}}}}"#)
    };
    outbox(&mut facts).events[0].payload = payload("a", "2.50");
    log(&mut facts).messages[0].payload = payload("b", "2.5").replacen('{', r#"{"pubsubname":"pubsub","#, 1);
    assert!(failing(&facts).is_empty());
    log(&mut facts).messages[0].payload = payload("a", "2.51");
    assert_eq!(failing(&facts), [BUS]);

    // Published again, with the sidecar's next trace; then with something else.
    let mut facts = clean();
    let mut again = log(&mut facts).messages[0].clone();
    again.payload = again.payload.replacen('{', r#"{"traceid":"2","#, 1);
    log(&mut facts).messages.insert(1, again.clone());
    assert_eq!(failing(&facts), [0; 0]);
    again.payload = again.payload.replacen('{', r#"{"data":"another","#, 1);
    log(&mut facts).messages.insert(2, again);
    assert_eq!(failing(&facts), [BUS]);
}

#[test]
fn a_bus_may_have_forgotten_what_is_older_than_what_it_has() {
    let mut facts = clean();
    log(&mut facts).messages.drain(..2);
    assert_eq!(failing(&facts), [BUS]);
    log(&mut facts).whole_since.insert("orders".into(), at(3));
    assert!(failing(&facts).is_empty());
    log(&mut facts).messages.remove(0);
    assert_eq!(failing(&facts), [BUS], "event 3 is not older");
    let mut facts = clean();
    log(&mut facts).whole_since.insert("orders".into(), at(1));
    log(&mut facts).messages.remove(2);
    assert_eq!(failing(&facts), [BUS], "a gap is a gap");
}

#[test]
fn a_dead_letter_that_was_brought_back_is_no_gap() {
    let mut facts = clean();
    let mut again = log(&mut facts).messages[1].clone();
    let mut event: serde_json::Value = serde_json::from_str(&again.payload).expect("an event");
    event["replay"] = json!(true);
    again.payload = event.to_string();
    log(&mut facts).messages.drain(..3);
    log(&mut facts).messages.insert(0, again);
    log(&mut facts).whole_since.insert("orders".into(), at(4));
    assert!(failing(&facts).is_empty());
}

#[test]
fn only_a_released_reservation_is_forgotten_while_its_events_are_not() {
    let of_stock = |facts: &mut Facts, subject: &str| {
        let event = OutboxEvent { topic: "stock".into(), ..event(subject, 1, "souk.stock.released") };
        facts.outboxes.insert("stock", OutboxDump { events: vec![event], pruned_before: None });
        facts.log = None;
    };
    let mut facts = clean();
    of_stock(&mut facts, "o9");
    assert_eq!(failing(&facts), [CHANGES]);
    facts.released_before = Some(at(1));
    assert_eq!(failing(&facts), [CHANGES], "it was published later");
    facts.released_before = Some(at(2));
    assert!(failing(&facts).is_empty());
    of_stock(&mut facts, "logistics/tea");
    assert_eq!(failing(&facts), [CHANGES], "a level stays");
}

#[test]
fn events_pruned_from_the_inbox_of_stock_count_as_consumed() {
    let mut facts = clean();
    assert!(!facts.stock_is_behind(&order("o1")));
    facts.stock_inbox.last.clear();
    assert!(facts.stock_is_behind(&order("o1")));
    facts.stock_inbox.pruned_before = Some(at(4));
    assert!(facts.stock_is_behind(&order("o1")), "its last event is younger");
    facts.stock_inbox.pruned_before = Some(at(5));
    assert!(!facts.stock_is_behind(&order("o1")));
}

#[test]
fn events_published_during_the_audit_are_pending() {
    let mut facts = clean();
    outbox(&mut facts).events.push(OutboxEvent {
        created_at: at(21),
        published: false,
        ..event("o1", 5, "souk.order.returned")
    });
    assert!(failing(&facts).contains(&CHANGES));
    facts.running = true;
    assert!(!failing(&facts).contains(&CHANGES));
}

#[test]
fn a_word_about_a_prospect_that_made_no_activity_is_found_on_a_running_fleet() {
    let mut facts = clean();
    facts.notification_inbox.last.insert(("orders".into(), "o1".into()), (4, at(4)));
    let kind = "souk.prospect.created";
    let payload = json!({"type": kind, "id": "e1", "source": "/souk/customer", "sequence": 1}).to_string();
    let (topic, subject) = ("prospect-events".to_owned(), "p1".to_owned());
    let message = Message { topic: topic.clone(), key: subject.clone(), payload: payload.clone() };
    log(&mut facts).messages.push(message);
    // Another program's, which counts as it likes.
    let foreign = json!({"type": kind, "id": "e1", "source": "/crm", "sequence": 9}).to_string();
    log(&mut facts).messages.push(Message { topic: topic.clone(), key: subject.clone(), payload: foreign });
    facts.aggregates.insert(
        (topic.clone(), subject.clone()),
        Aggregate { last: 1, created_at: Some(at(1)), last_published: Some(at(1)) },
    );
    let event = OutboxEvent { topic, subject, sequence: 1, created_at: at(1), published: true, payload };
    facts.outboxes.insert("customers", OutboxDump { events: vec![event], pruned_before: None });
    assert!(failing(&facts).is_empty(), "the next start makes it");
    facts.running = true;
    assert_eq!(failing(&facts), [ACTIVITIES]);
    facts.activities.extend(customer::activity_of(kind, "e1"));
    assert!(failing(&facts).is_empty());
}

/// The names of the checks that fail.
fn found(facts: &Facts) -> Vec<&'static str> {
    let all = checks::all(facts).into_iter().chain(events::all(facts));
    all.filter(|check| !check.ok).map(|check| check.name).collect()
}

/// The order with its goods sold and its payment captured, in stores that agree.
fn sold() -> Facts {
    let mut facts = clean();
    let order = facts.orders.get_mut("o1").expect("the order");
    order.goods = BTreeMap::from([("tea".into(), 2)]);
    let line = stock::LineFact { product_id: "tea".into(), quantity: 2, restocked: 0 };
    let reservation = stock::ReservationFact {
        order_id: "o1".into(),
        place_id: Some("logistics".into()),
        state: "committed",
        lines: vec![line],
        last_sequence: 0,
        created_at: 0,
        updated_at: 0,
    };
    facts.reservations = BTreeMap::from([("o1".into(), reservation)]);
    facts.levels = vec![stock::LevelFact {
        product_id: "tea".into(),
        place_id: "logistics".into(),
        on_hand: 8,
        reserved: 0,
        adjusted: 10,
        sold: 2,
        restocked: 0,
        sent: 0,
        received: 0,
        last_sequence: 0,
    }];
    let payment = payment::PaymentFact {
        id: "p".into(),
        order_id: "o1".into(),
        kind: "order",
        amount: 100,
        captured: 100,
        refunded: 0,
        customer_id: None,
        currency: "EUR".into(),
        method: "card",
        status: "captured",
        last_sequence: 0,
        created_at: 0,
        updated_at: 0,
        inconsistency: None,
        operations: Vec::new(),
    };
    facts.payments = BTreeMap::from([("o1".into(), payment)]);
    facts
}

#[test]
fn what_contradicts_an_order_in_another_store_is_found() {
    type Plant = fn(&mut Facts);
    assert_eq!(found(&sold()), [""; 0]);
    let plants: [(Plant, &str); 10] = [
        (
            |facts| facts.orders.get_mut("o1").expect("the order").withdrawn = Some(true),
            "withdrawn orders are cancelled, or all goods and money are given back",
        ),
        (
            |facts| {
                // All goods are back, but not the costs.
                let order = facts.orders.get_mut("o1").expect("the order");
                (order.withdrawn, order.kept_pieces) = (Some(true), 0);
            },
            "withdrawn orders are cancelled, or all goods and money are given back",
        ),
        (
            |facts| {
                // Total and payment altered together, against the lines.
                facts.orders.get_mut("o1").expect("the order").total = Amount::from_minor(50);
                let payment = facts.payments.get_mut("o1").expect("the payment");
                (payment.amount, payment.captured) = (50, 50);
            },
            "an order's total = its lines + its adjustments, and its goods are of its place",
        ),
        (
            |facts| facts.orders.get_mut("o1").expect("the order").place_id = "s1".into(),
            "an order's total = its lines + its adjustments, and its goods are of its place",
        ),
        (
            |facts| facts.payments.get_mut("o1").expect("the payment").inconsistency = Some("charged 2 times".into()),
            "a payment's amounts and status follow from its operations, and it is charged once",
        ),
        (
            // A doubled sale, with the goods gone.
            |facts| (facts.levels[0].sold, facts.levels[0].on_hand) = (4, 6),
            "sold and returned in the ledger = committed reservations",
        ),
        (|facts| facts.numbers[0].1 = 2, "no number of anything is given twice"),
        (
            |facts| log(facts).messages[1].payload = log(facts).messages[1].payload.replace("confirmed", "cancelled"),
            "events are on the bus in order, without gaps",
        ),
        (
            |facts| facts.stock_inbox.last.extend([(("orders".into(), "o1".into()), (9, at(4)))]),
            "services have consumed only what was published",
        ),
        (
            |facts| facts.orders.get_mut("o1").expect("the order").restocked = BTreeMap::from([("tea".into(), 1)]),
            "confirmed orders have their goods, cancelled orders hold none",
        ),
    ];
    for (plant, check) in plants {
        let mut facts = sold();
        plant(&mut facts);
        assert!(found(&facts).contains(&check), "{check}: {:?}", found(&facts));
    }
}

#[test]
fn what_changes_while_the_stores_are_read_is_under_way() {
    // A piece came back after the order was read, and before its reservation was.
    let mut facts = sold();
    let returned = |facts: &mut Facts, at: Timestamp| {
        let held = facts.reservations.get_mut("o1").expect("the reservation");
        (held.lines[0].restocked, held.updated_at) = (1, at.micros());
    };
    let is_found =
        |facts: &Facts| found(facts).contains(&"confirmed orders have their goods, cancelled orders hold none");
    let now = Timestamp::now();
    (facts.running, facts.now) = (true, now);
    returned(&mut facts, now.plus(Duration::from_secs(1)));
    assert!(!is_found(&facts));
    returned(&mut facts, now.minus(Duration::from_secs(60)));
    assert!(is_found(&facts));
    // A time that no clock has had yet hides nothing.
    returned(&mut facts, now.plus(Duration::from_secs(7 * 86_400)));
    assert!(is_found(&facts));
}

#[test]
fn an_order_does_not_show_that_its_payment_is_in_doubt() {
    let mut facts = sold();
    facts.payments.get_mut("o1").expect("the payment").status = "in_doubt";
    assert_eq!(found(&facts), [""; 0]);
}

#[test]
fn what_is_under_way_for_too_long_is_found_on_a_running_fleet() {
    let (consumed, answered) = (
        "notifications have consumed every event once",
        "a payment's amounts and status follow from its operations, and it is charged once",
    );
    let mut facts = sold();
    let payment = facts.payments.get_mut("o1").expect("the payment");
    (payment.status, payment.updated_at) = ("in_doubt", at(19).micros());
    facts.notification_inbox.last.insert(("orders".into(), "o1".into()), (3, at(3)));
    assert!(!found(&facts).contains(&consumed) && !found(&facts).contains(&answered), "the next start goes on");
    facts.running = true;
    assert!(found(&facts).contains(&consumed), "event 4 was published days ago");
    assert!(!found(&facts).contains(&answered), "it was asked for yesterday");
    facts.payments.get_mut("o1").expect("the payment").updated_at = at(18).micros();
    assert!(found(&facts).contains(&answered));
}
