//! Which events the inbox treats as new, on every database engine.

use bus::{
    Event,
    inbox::{self, InboxError},
};
use db::Db;
use serde_json::json;
use testkit::Store;

async fn store() -> (Store, Db) {
    let store = testkit::store().await.expect("a database");
    let db = store.open(bus::MIGRATIONS).await.expect("migrates");
    (store, db)
}

fn event(id: &str, sequence: i64, replay: bool) -> Event {
    let mut event: Event = serde_json::from_value(json!({
        "specversion": "1.0", "id": id, "source": "/souk/order", "type": "souk.order.confirmed", "subject": "o-1",
        "time": "2026-01-01T00:00:00Z", "sequence": sequence, "replay": replay, "data": {},
    }))
    .expect("an event");
    event.topic = "orders".into();
    event
}

async fn fresh(db: &Db, events: &[Event]) -> Vec<bool> {
    let mut tx = db.write().await.expect("begins");
    let fresh = inbox::fresh(&mut tx, events).await.expect("reads");
    tx.commit().await.expect("commits");
    fresh
}

/// The event that a refused one waits for.
async fn missing(db: &Db, events: &[Event]) -> i64 {
    let mut tx = db.write().await.expect("begins");
    match inbox::fresh(&mut tx, events).await {
        Err(InboxError::Ahead { expected, .. }) => expected,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_take_effect_in_their_sequence_and_none_is_skipped() {
    let (_store, db) = store().await;
    // Older ones were pruned before this service was installed.
    assert_eq!(fresh(&db, &[event("d", 4, false), event("e", 5, false)]).await, [true, true]);
    assert_eq!(missing(&db, &[event("f", 6, false), event("h", 8, false)]).await, 7);
    assert_eq!(missing(&db, &[event("g", 7, true)]).await, 6, "the refused batch left no trace; a replay waits, too");
    assert_eq!(fresh(&db, &[event("f", 6, false), event("e", 5, false)]).await, [true, false]);
    let mut forced = event("h", 8, true);
    forced.skipmissing = true;
    assert_eq!(fresh(&db, &[forced]).await, [true], "an operator may give the missing one up");
    assert_eq!(fresh(&db, &[event("g", 7, true), event("i", 9, false)]).await, [false, true]);
}

#[tokio::test]
async fn a_letter_that_an_earlier_version_let_others_overtake_takes_effect_once() {
    let (_store, db) = store().await;
    assert_eq!(fresh(&db, &[event("a", 1, false), event("b", 2, false)]).await, [true, true]);
    let mut overtaken = event("x", 1, true);
    overtaken.overtaken = true;
    let batch = [overtaken.clone(), overtaken.clone(), event("b", 2, false), event("c", 3, false)];
    assert_eq!(fresh(&db, &batch).await, [true, false, false, true]);
    assert_eq!(fresh(&db, &[overtaken, event("d", 4, false)]).await, [false, true]);
    // One that comes in its turn is known by its number, too.
    let mut next = event("e", 5, true);
    next.overtaken = true;
    assert_eq!(fresh(&db, &[next.clone(), event("e", 5, false), next]).await, [true, false, false]);
}

#[tokio::test]
async fn the_newest_state_replaces_what_is_missing_and_no_replay_replaces_it() {
    let (_store, db) = store().await;
    let mut tx = db.write().await.expect("begins");
    let events = [event("a", 1, false), event("c", 3, false), event("b", 2, true), event("c", 3, false)];
    assert_eq!(inbox::newest(&mut tx, &events).await.expect("reads"), [true, true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_with_one_event_one_takes_it() {
    let (_store, db) = store().await;
    for round in 1..=20 {
        let take = |db: Db| async move { fresh(&db, &[event(&format!("e{round}"), round, false)]).await[0] };
        let (one, two) = tokio::join!(tokio::spawn(take(db.clone())), tokio::spawn(take(db.clone())));
        assert!(one.expect("no panic") ^ two.expect("no panic"), "round {round}");
    }
}
