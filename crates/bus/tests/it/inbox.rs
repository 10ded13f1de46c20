//! Which events the inbox treats as new, on every database engine.

use bus::{Event, inbox};
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

#[tokio::test]
async fn a_replayed_letter_is_new_once_whatever_came_after_it() {
    let (_store, db) = store().await;
    assert_eq!(fresh(&db, &[event("a", 1, false), event("c", 3, false)]).await, [true, true]);
    assert_eq!(fresh(&db, &[event("b", 2, false)]).await, [false], "it is late");
    assert_eq!(fresh(&db, &[event("b", 2, true), event("b", 2, true)]).await, [true, false]);
    assert_eq!(
        fresh(&db, &[event("b", 2, true), event("c", 3, false), event("d", 4, false)]).await,
        [false, false, true]
    );
}

#[tokio::test]
async fn the_original_of_a_replayed_letter_is_not_taken_again() {
    let (_store, db) = store().await;
    assert_eq!(fresh(&db, &[event("a", 1, false)]).await, [true]);
    assert_eq!(fresh(&db, &[event("b", 2, true)]).await, [true]);
    assert_eq!(fresh(&db, &[event("b", 2, false), event("c", 3, false)]).await, [false, true]);
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
