//! From the outbox of one service to the effect in another, over the embedded bus.

use std::{path::Path, sync::Arc};

use bus::{NewEvent, Relay, outbox::SqlOutbox};
use db::{Db, Options};

use crate::{
    handlers::{Counter, Recorder, until},
    test_broker::{Kind, Process, TestBroker},
};

async fn open(dir: &Path) -> Db {
    let url = format!("sqlite:{}", dir.join("sender.db").display());
    let db = Db::open(&url, &Options::default(), None).await.expect("opens");
    db.migrate(bus::MIGRATIONS).await.expect("migrates");
    db
}

fn event(subject: &str, sequence: i64) -> NewEvent {
    NewEvent::new("orders", "souk.order.placed", subject, sequence, &serde_json::json!({"n": sequence}))
}

async fn append(db: &Db, relay: &Relay, events: Vec<NewEvent>) {
    let mut tx = db.write().await.expect("begins");
    bus::outbox::append(&mut tx, "test", events).await.expect("appends");
    tx.commit().await.expect("commits");
    relay.wake();
}

async fn relay(sender: &Process, db: &Db) -> Relay {
    let (ctx, db, bus) = (sender.ctx.clone(), db.clone(), sender.bus.clone());
    sender.within(async move { Relay::start(&ctx, Arc::new(SqlOutbox::new(db)), bus) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_committed_is_published_and_all_of_it_in_order() {
    let broker = TestBroker::new(Kind::Embedded).await;
    let db = open(broker.path()).await;
    let sender = broker.publisher().await;
    let relay = relay(&sender, &db).await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    let mut tx = db.write().await.expect("begins");
    bus::outbox::append(&mut tx, "test", vec![event("never", 1)]).await.expect("appends");
    drop(tx);
    let events: Vec<(String, i64)> = (1..=300).map(|n| (format!("o{}", n % 7), n)).collect();
    for chunk in events.chunks(11) {
        append(&db, &relay, chunk.iter().map(|(subject, n)| event(subject, *n)).collect()).await;
    }
    until("all come", || handler.seen.count() == 300).await;
    assert_eq!(handler.seen.all(), events);
    consumer.stop().await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_or_late_takes_effect_once() {
    let broker = TestBroker::new(Kind::Embedded).await;
    let db = open(broker.path()).await;
    let sender = broker.publisher().await;
    let relay = relay(&sender, &db).await;
    let counter = Counter::open(&format!("sqlite:{}", broker.path().join("receiver.db").display())).await;
    let consumer = broker.consumer("first", counter.clone()).await;
    append(&db, &relay, vec![event("a", 1), event("b", 1), event("a", 2)]).await;
    until("the first three come", || counter.seen.count() >= 3).await;
    // A relay that crashed between publishing and marking publishes again; an old event arrives late.
    append(&db, &relay, vec![event("a", 1), event("a", 2), event("b", 1), event("b", 2)]).await;
    until("the repeats come", || counter.seen.count() >= 7).await;
    let effects = counter.effects().await;
    assert_eq!((effects["a"].as_slice(), effects["b"].as_slice()), ([1, 2].as_slice(), [1, 2].as_slice()));
    consumer.stop().await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_event_goes_to_the_dead_letters() {
    let broker = TestBroker::new(Kind::Embedded).await;
    let publisher = broker.publisher().await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    let no_event = bus::Message { topic: "orders".into(), key: "x".into(), payload: "no event".into() };
    let good = crate::handlers::event("good", 1);
    publisher.publish(vec![no_event, good]).await.expect("publishes");
    until("the good one comes", || handler.seen.count() == 1).await;
    let letters = publisher.bus.dead_letters(&bus::DeadLetterFilter::default()).await.expect("letters");
    assert_eq!((letters.len(), letters[0].payload.as_str(), letters[0].id.as_deref()), (1, "no event", None));
    assert!(letters[0].reason.starts_with("no CloudEvent"), "{letters:?}");
    let (replayed, left) = publisher.bus.replay(&bus::DeadLetterFilter::default()).await.expect("replays");
    assert_eq!((replayed.len(), left.len()), (0, 1));
    let log = bus::Bus::read_all(&broker.broker_url()).await.expect("reads").messages;
    assert_eq!(log.iter().map(|m| m.topic.as_str()).collect::<Vec<_>>(), ["orders", "orders", "orders.dlq"]);
    consumer.stop().await;
    publisher.stop().await;
}
