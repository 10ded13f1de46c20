//! A write under a lost lease changes nothing; repeats find what the first request made.

use commerce::{Amount, Currency, Id, OrderId, Quantity, Timestamp};
use db::{Db, query};

use super::*;
use idempotency::Key;

use crate::{
    domain::{Channel, Line, Payment, PaymentMethod, SagaState, StateAt, Status, StatusChange, Undo},
    events,
};

pub(super) async fn fresh() -> (testkit::Store, Db) {
    let store = testkit::store().await.expect("a database");
    let db = store.open(&[bus::MIGRATIONS, MIGRATIONS].concat()).await.expect("migrates");
    (store, db)
}

fn order(id: &str) -> Order {
    let now = Timestamp::from_micros(1_000_000);
    let (quantity, unit_price) = (Quantity::new(2).expect("two"), Amount::from_minor(450));
    Order {
        id: OrderId::parse(id).expect("an id"),
        number: 0,
        customer_id: None,
        place_id: Id::trusted("logistics".into()),
        channel: Channel::Web,
        state: SagaState::Created,
        status: Status::Pending,
        states: vec![StateAt { state: SagaState::Created, at: now }],
        history: Vec::new(),
        lines: vec![Line {
            line_id: line_id(1),
            product_id: Some(Id::trusted("tea".into())),
            name: "Tea".into(),
            quantity,
            returned: 0,
            unit_price,
            subtotal: Amount::from_minor(900),
        }],
        adjustments: Vec::new(),
        total: Amount::from_minor(900),
        currency: Currency::EUR,
        payment: Payment { method: PaymentMethod::Card, status: "none".into(), id: None },
        reason: None,
        shipping_address: None,
        notes: None,
        metadata: Default::default(),
        archived: false,
        placed_at: now,
        created_at: now,
        updated_at: now,
        version: 1,
        sequence: 1,
        cart_id: None,
    }
}

/// The ends of live leases at this time.
fn live(now: i64) -> std::ops::RangeInclusive<Timestamp> {
    Timestamp::from_micros(now)..=Timestamp::from_micros(now + 200)
}

fn lease(owner: &str, until: i64) -> Lease {
    Lease { owner: owner.into(), epoch: 1, until: Timestamp::from_micros(until) }
}

pub(super) fn order_insert(id: &str, hash: &str, key: Option<&str>) -> OrderInsert {
    let key = key.map(|key| Key { subject: "me".into(), route: "orders", key: key.into() });
    OrderInsert {
        order: order(id),
        id_chosen: true,
        payload_hash: hash.into(),
        acknowledge_by: None,
        key,
        lease: lease("a", 100),
        traceparent: None,
        cart_version: None,
    }
}

async fn inserted(db: &Db, inserts: Vec<OrderInsert>) -> Vec<InsertOutcome> {
    let mut tx = db.write().await.expect("begins");
    let placed = insert_orders(&mut tx, &Vec::from_iter(&inserts), events::placed, events::placed_message)
        .await
        .expect("places");
    tx.commit().await.expect("commits");
    placed
}

pub(super) fn confirmation(stored: &Order, epoch: i64) -> OrderUpdate {
    let mut order = stored.clone();
    order.status = Status::Confirmed;
    order.reach_state(SagaState::Confirmed, Timestamp::from_micros(2_000_000));
    order.touch(Timestamp::from_micros(2_000_000));
    let (event, message) = (Box::new(events::confirmed(&order)), Some(events::confirmed_message(&order)));
    let response = StoredResponse { status: 201, body: "{\"exactly\": \"this\"}".into() };
    OrderUpdate { order, work: None, epoch, kind: UpdateKind::Terminal { event, message, response } }
}

async fn count(db: &Db, text: &str) -> i64 {
    let mut tx = db.read().await.expect("reads");
    query(text).fetch_one(&mut tx).await.expect("reads").get("n").expect("a number")
}

/// Keys and payloads of the plain messages on a topic.
async fn messages(db: &Db, topic: &str) -> Vec<(String, String)> {
    let mut tx = db.read().await.expect("reads");
    let rows = query("select key, payload from outbox where topic = $1 order by id").bind(topic).fetch_all(&mut tx);
    let rows = rows.await.expect("reads");
    rows.iter().map(|row| (row.get("key").expect("a key"), row.get("payload").expect("a text"))).collect()
}

#[tokio::test]
async fn plain_messages_of_an_order_keep_their_contract() {
    let (_dir, db) = fresh().await;
    let (mut several, mut none) = (order_insert("b", "h", None), order_insert("c", "h", None));
    // The order of another program is not published again.
    let mut external = order_insert("d", "h", None);
    let actor = Some(events::NEW_ORDER_TOPIC.into());
    external
        .order
        .history
        .insert(0, StatusChange { status: Status::Pending, at: Timestamp::now(), actor, reason: None });
    let lines = &mut several.order.lines;
    lines.push(Line { product_id: Some(Id::trusted("cup".into())), ..lines[0].clone() });
    lines.push(lines[0].clone());
    several.order.customer_id = Some(Id::trusted("c1".into()));
    none.order.metadata.insert(events::EXTERNAL_USER.into(), "7".into());
    none.order.lines[0].product_id = None;
    inserted(&db, vec![order_insert("a", "h", None), several, none, external]).await;
    let payloads: Vec<String> = messages(&db, "new-order").await.into_iter().map(|(_, text)| text).collect();
    let at = r#""status":"pending","createdAt":"1970-01-01T00:00:01.000000Z","origin":"souk"}"#;
    assert_eq!(
        payloads,
        [
            format!(r#"{{"id":"a","userId":null,"productId":"tea","quantity":2,{at}"#),
            format!(
                r#"{{"id":"b","userId":"c1","productId":"tea","quantity":4,"products":[{{"productId":"tea","quantity":4}},{{"productId":"cup","quantity":2}}],{at}"#
            ),
            format!(r#"{{"id":"c","userId":"7","productId":null,"quantity":2,{at}"#),
        ]
    );
}

const EVENTS: &str = "select count(*) as n from outbox where sequence > 0";

#[tokio::test]
async fn copies_in_one_batch_and_in_later_ones_find_the_first() {
    let (_dir, db) = fresh().await;
    let first = inserted(
        &db,
        vec![order_insert("a", "h", Some("k")), order_insert("b", "h", Some("k")), order_insert("a", "other", None)],
    )
    .await;
    assert!(matches!(&first[0], InsertOutcome::Inserted(order) if order.number == 1));
    assert!(
        matches!(&first[1], InsertOutcome::ExistingKey { order_id, payload_hash } if order_id.as_str() == "a" && payload_hash == "h")
    );
    assert!(matches!(&first[2], InsertOutcome::ExistingId { payload_hash, .. } if payload_hash == "h"));
    let later = inserted(&db, vec![order_insert("c", "x", Some("k")), order_insert("d", "h", None)]).await;
    assert!(matches!(&later[0], InsertOutcome::ExistingKey { payload_hash, .. } if payload_hash == "h"));
    assert!(matches!(&later[1], InsertOutcome::Inserted(order) if order.number == 2));
    assert_eq!(count(&db, EVENTS).await, 2, "one event an order");
}

#[tokio::test]
async fn a_replica_that_lost_its_lease_writes_nothing() {
    let (_dir, db) = fresh().await;
    inserted(&db, vec![order_insert("a", "h", Some("k")), order_insert("b", "h", None)]).await;
    let mut tx = db.write().await.expect("begins");
    let taken = take_over(&mut tx, "other", live(200), Timestamp::from_micros(300), Takeover::ExpiredLeases, 1)
        .await
        .expect("takes over");
    tx.commit().await.expect("commits");
    assert_eq!(taken.len(), 1);
    let (lost, kept) = (&taken[0].order, if taken[0].order.id.as_str() == "a" { "b" } else { "a" });
    assert_eq!(taken[0].lease.epoch, 2);
    let mut tx = db.write().await.expect("begins");
    let kept = find(&mut tx, kept).await.expect("reads").expect("there").order;
    let written = apply_updates(&mut tx, &[&confirmation(lost, 1), &confirmation(&kept, 1)]).await.expect("updates");
    tx.commit().await.expect("commits");
    assert_eq!(written, [false, true]);
    let mut tx = db.read().await.expect("reads");
    let stored = find(&mut tx, lost.id.as_str()).await.expect("reads").expect("there");
    assert_eq!((stored.order.status, stored.order.version), (Status::Pending, 1));
    assert_eq!(count(&db, EVENTS).await, 3, "two placed, one confirmed");
    assert_eq!(messages(&db, "new-order").await.len(), 2);
    let processed = messages(&db, "order-processed").await;
    assert_eq!(processed.len(), 1, "a writer without the lease publishes nothing");
    assert_eq!(processed[0].0, kept.id.as_str());
    let mut tx = db.read().await.expect("reads");
    let dump = bus::outbox::dump(&mut tx).await.expect("reads");
    drop(tx);
    assert!(dump.events.iter().all(|event| event.topic == "orders"), "the audit reads events only");
    let mut tx = db.write().await.expect("begins");
    assert_eq!(renew(&mut tx, &[(lost.id.clone(), 1)], Timestamp::from_micros(900)).await.expect("renews"), 0);
    assert_eq!(renew(&mut tx, &[(lost.id.clone(), 2)], Timestamp::from_micros(900)).await.expect("renews"), 1);
}

#[tokio::test]
async fn of_two_writers_in_one_batch_only_the_holder_of_the_lease_writes() {
    let (_dir, db) = fresh().await;
    let first = inserted(&db, vec![order_insert("a", "h", Some("k"))]).await;
    let InsertOutcome::Inserted(order) = &first[0] else { panic!("new") };
    let mut tx = db.write().await.expect("begins");
    let until = Timestamp::from_micros(300);
    take_over(&mut tx, "other", live(200), until, Takeover::ExpiredLeases, 1).await.expect("takes over");
    let mut late = confirmation(order, 1);
    if let UpdateKind::Terminal { response, .. } = &mut late.kind {
        response.body = "late".into();
    }
    let written = apply_updates(&mut tx, &[&late, &confirmation(order, 2)]).await.expect("updates");
    tx.commit().await.expect("commits");
    assert_eq!(written, [false, true]);
    assert_eq!(count(&db, EVENTS).await, 2, "placed once, confirmed once");
    let key = Key { subject: "me".into(), route: routes::ORDERS, key: "k".into() };
    let mut tx = db.read().await.expect("reads");
    let (_, _, answer) = find_key(&mut tx, &key).await.expect("reads").expect("known");
    assert_eq!(answer.map(|answer| answer.body).as_deref(), Some("{\"exactly\": \"this\"}"));
}

#[tokio::test]
async fn leases_that_run_are_left_alone_unless_no_other_replica_can_be() {
    let (_dir, db) = fresh().await;
    inserted(&db, vec![order_insert("a", "h", None)]).await;
    let until = Timestamp::from_micros(300);
    let mut tx = db.write().await.expect("begins");
    assert!(!has_takeover(&mut tx, live(50), Takeover::ExpiredLeases).await.expect("reads"));
    assert!(
        take_over(&mut tx, "other", live(50), until, Takeover::ExpiredLeases, 10).await.expect("takes over").is_empty()
    );
    assert_eq!(
        take_over(&mut tx, "other", live(50), until, Takeover::EveryOpenOrder, 10).await.expect("takes over").len(),
        1
    );
    assert!(
        take_over(&mut tx, "other", live(50), until, Takeover::EveryOpenOrder, 10)
            .await
            .expect("takes over")
            .is_empty(),
        "not from itself"
    );
    assert_eq!(release_leases(&mut tx, "other").await.expect("releases"), 1);
    assert_eq!(
        take_over(&mut tx, "third", live(50), until, Takeover::ExpiredLeases, 10).await.expect("takes over").len(),
        1
    );
    // Taken until 300 by a clock that was ahead: at 99, no lease can last for more than 200.
    assert!(!has_takeover(&mut tx, live(100), Takeover::ExpiredLeases).await.expect("reads"));
    assert!(has_takeover(&mut tx, live(99), Takeover::ExpiredLeases).await.expect("reads"));
    let taken = take_over(&mut tx, "fourth", live(99), until, Takeover::ExpiredLeases, 10).await.expect("takes over");
    assert_eq!(taken.len(), 1);
}

#[tokio::test]
async fn the_answer_is_kept_byte_for_byte_with_the_terminal_state() {
    let (_dir, db) = fresh().await;
    let first = inserted(&db, vec![order_insert("a", "h", Some("k"))]).await;
    let InsertOutcome::Inserted(order) = &first[0] else { panic!("new") };
    let key = Key { subject: "me".into(), route: "orders", key: "k".into() };
    let mut tx = db.write().await.expect("begins");
    let (_, _, answer) = find_key(&mut tx, &key).await.expect("reads").expect("known");
    assert_eq!(answer, None, "no answer before the end");
    apply_updates(&mut tx, &[&confirmation(order, 1)]).await.expect("updates");
    let (target, _, answer) = find_key(&mut tx, &key).await.expect("reads").expect("known");
    assert_eq!(target, "a");
    assert_eq!(answer, Some(StoredResponse { status: 201, body: "{\"exactly\": \"this\"}".into() }));
}

#[tokio::test]
async fn a_refund_that_the_saga_does_not_know_of_stays_on_the_order() {
    let (_dir, db) = fresh().await;
    for (id, heard, answered, stays) in [
        ("a", "partly_refunded", "captured", "partly_refunded"),
        ("b", "refunded", "captured", "refunded"),
        ("c", "captured", "refunded", "refunded"),
        ("e", "refunded", "partly_refunded", "refunded"),
        ("d", "in_doubt", "captured", "captured"),
    ] {
        let first = inserted(&db, vec![order_insert(id, "h", None)]).await;
        let InsertOutcome::Inserted(order) = &first[0] else { panic!("new") };
        let mut tx = db.write().await.expect("begins");
        let now = Timestamp::from_micros(1_500_000);
        set_payment_status(&mut tx, vec![(id.into(), heard.into())], now).await.expect("updates");
        let mut update = confirmation(order, 1);
        update.order.payment.status = answered.into();
        assert_eq!(apply_updates(&mut tx, &[&update]).await.expect("updates"), [true]);
        let stored = find(&mut tx, id).await.expect("reads").expect("there");
        assert_eq!((stored.order.payment.status.as_str(), stored.order.version), (stays, update.order.version));
        tx.commit().await.expect("commits");
    }
}

#[tokio::test]
async fn a_decision_on_a_version_that_is_gone_is_not_written() {
    let (_dir, db) = fresh().await;
    inserted(&db, vec![order_insert("a", "h", None)]).await;
    let mut tx = db.write().await.expect("begins");
    let stored = find(&mut tx, "a").await.expect("reads").expect("there");
    let reason = crate::domain::saga::CancelReason::Other("x".into());
    let work = PendingWork::Cancel { undo: Undo { release: true, void: true }, reason, actor: None };
    let json = r#"{"kind":"cancel","undo":{"release":true,"void":true},"refusal":{"other":"x"},"actor":null}"#;
    assert_eq!(serde_json::to_string(&work).expect("JSON"), json, "other versions read it");
    let read = |version, epoch| ReadVersion { version, epoch };
    let next = Lease { epoch: 2, ..lease("b", 500) };
    assert!(!update(&mut tx, &stored.order, Some(&work), read(7, 1), &next).await.expect("runs"));
    assert!(!update(&mut tx, &stored.order, Some(&work), read(1, 7), &next).await.expect("runs"));
    assert!(update(&mut tx, &stored.order, Some(&work), read(1, 1), &next).await.expect("runs"));
    let decided = find(&mut tx, "a").await.expect("reads").expect("there");
    assert_eq!((decided.work, decided.lease.epoch), (Some(work), 2));
    let refused =
        query("update orders set work = null where id = 'a'").execute(&mut tx).await.expect_err("the schema refuses");
    assert_eq!(refused.constraint(), Some("orders_terminal_check"));
}

#[tokio::test]
async fn renewing_waits_for_nobody() {
    let (store, db) = fresh().await;
    inserted(&db, vec![order_insert("a", "h", None), order_insert("b", "h", None)]).await;
    let leased = ["a", "b"].map(|id| (OrderId::parse(id).expect("an id"), 1));
    if store.url.starts_with("sqlite:") {
        // One writes at a time there.
        return;
    }
    let mut updating = db.write().await.expect("begins");
    assert_eq!(apply_updates(&mut updating, &[&confirmation(&order("a"), 1)]).await.expect("updates"), [true]);
    let mut tx = db.write().await.expect("begins");
    let renewed = renew(&mut tx, &leased, Timestamp::from_micros(500)).await.expect("renews");
    assert_eq!(renewed, 1, "a row that is being updated is skipped");
    tx.commit().await.expect("commits");
    updating.commit().await.expect("commits");
    let mut tx = db.write().await.expect("begins");
    assert_eq!(renew(&mut tx, &leased, Timestamp::from_micros(600)).await.expect("renews"), 1);
}

#[tokio::test]
async fn open_orders_are_counted_by_age() {
    let (_dir, db) = fresh().await;
    let at = |id: &str, micros: i64| {
        let mut order_insert = order_insert(id, "h", None);
        order_insert.order.updated_at = Timestamp::from_micros(micros);
        order_insert
    };
    inserted(&db, vec![at("new", 90), at("newer", 95), at("old", 15), at("done", 90)]).await;
    let mut tx = db.write().await.expect("begins");
    let done = get(&mut tx, &OrderId::parse("done").expect("an id")).await.expect("reads");
    apply_updates(&mut tx, &[&confirmation(&done.order, 1)]).await.expect("updates");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    let counted = count_open_by_age(&mut tx, [80, 40, 20].map(Timestamp::from_micros)).await.expect("counts");
    assert_eq!(counted, [2, 0, 0, 1]);
}
