//! What the relay and the auditor see.

use std::time::Duration;

use bus::outbox::{SHARDS, shard};
use commerce::Timestamp;

use super::*;

fn all() -> Vec<i64> {
    (0..SHARDS).collect()
}

pub(super) async fn events_wait_in_their_order_until_they_are_marked(test_store: &TestStore) {
    let (store, outbox) = (test_store.store(), &test_store.opened.outbox);
    let ada = make(store.as_ref(), named("Ada")).await.unwrap();
    let bob = make(store.as_ref(), named("Bob")).await.unwrap();
    for n in 0..4 {
        store.change_customer(&ada, None, phone(n)).await.unwrap();
        store.change_customer(&bob, None, phone(n)).await.unwrap();
    }
    let mut heard: Vec<(String, i64)> = Vec::new();
    loop {
        let waiting = outbox.pending(&all(), 3).await.unwrap();
        if waiting.is_empty() {
            break;
        }
        assert!(waiting.len() <= 3);
        assert!(waiting.iter().all(|waiting| waiting.message.topic == "customers"));
        let again = outbox.pending(&all(), 3).await.unwrap();
        assert_eq!(again[0].id, waiting[0].id, "what is not marked waits on");
        heard.extend(waiting.iter().map(|waiting| {
            let event: serde_json::Value = serde_json::from_str(&waiting.message.payload).unwrap();
            assert_eq!(event["subject"], waiting.message.key.as_str());
            (waiting.message.key.clone(), event["sequence"].as_i64().unwrap())
        }));
        let ids: Vec<String> = waiting.into_iter().map(|waiting| waiting.id).collect();
        outbox.mark_published(&ids).await.unwrap();
        outbox.mark_published(&ids).await.unwrap();
    }
    for id in [&ada, &bob] {
        let sequences: Vec<i64> =
            heard.iter().filter(|(key, _)| key == id.as_str()).map(|(_, sequence)| *sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5]);
    }
    store.change_customer(&ada, None, phone(9)).await.unwrap();
    assert_eq!(outbox.pending(&all(), 3).await.unwrap().len(), 1, "a new one waits again");
}

pub(super) async fn shards_share_the_events(test_store: &TestStore) {
    let (store, outbox) = (test_store.store(), &test_store.opened.outbox);
    for n in 0..20 {
        make(store.as_ref(), named(&n.to_string())).await.unwrap();
    }
    let mut seen = 0;
    for part in 0..SHARDS {
        let waiting = outbox.pending(&[part], 100).await.unwrap();
        assert!(waiting.iter().all(|waiting| shard(&waiting.message.key) == part));
        seen += waiting.len();
    }
    assert_eq!(seen, 20);
    assert!(outbox.pending(&[], 100).await.unwrap().is_empty());
}

pub(super) async fn the_backlog_is_counted(test_store: &TestStore) {
    let (store, outbox) = (test_store.store(), &test_store.opened.outbox);
    assert_eq!(outbox.backlog().await.unwrap(), (0, None));
    let before = Timestamp::now();
    let id = make(store.as_ref(), named("Ada")).await.unwrap();
    store.change_customer(&id, None, phone(1)).await.unwrap();
    make(store.as_ref(), named("Bob")).await.unwrap();
    let (waiting, oldest) = outbox.backlog().await.unwrap();
    assert_eq!(waiting, 3);
    assert!(oldest.unwrap() >= before && oldest.unwrap() <= Timestamp::now());
    let first = outbox.pending(&all(), 1).await.unwrap();
    outbox.mark_published(&[first[0].id.clone()]).await.unwrap();
    let (waiting, later) = outbox.backlog().await.unwrap();
    assert_eq!(waiting, 2);
    assert!(later.unwrap() > oldest.unwrap());
    let rest: Vec<String> = outbox.pending(&all(), 9).await.unwrap().into_iter().map(|waiting| waiting.id).collect();
    outbox.mark_published(&rest).await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap(), (0, None));
}

pub(super) async fn a_lease_has_one_owner_until_it_runs_out(test_store: &TestStore) {
    let leases = test_store.opened.outbox.leases();
    let now = Timestamp::now();
    let later = move |seconds: u64| now.plus(Duration::from_secs(seconds));
    assert!(leases.take("relay", "a", now, later(10)).await.unwrap());
    assert!(!leases.take("relay", "b", now, later(10)).await.unwrap());
    assert!(leases.take("relay", "a", later(1), later(12)).await.unwrap(), "renewed");
    assert!(!leases.take("relay", "b", later(11), later(20)).await.unwrap());
    assert!(leases.take("relay", "b", later(13), later(20)).await.unwrap(), "run out");
    leases.release("relay", "a").await.unwrap();
    let held = leases.held().await.unwrap();
    assert_eq!((held.len(), held[0].owner.as_str(), held[0].until), (1, "b", later(20)));
    leases.release("relay", "b").await.unwrap();
    let names = ["x".to_owned(), "y".to_owned()];
    let tries = (0..12).map(|n| {
        let (leases, names) = (Arc::clone(&leases), names.clone());
        tokio::spawn(async move { leases.take_some(&names, &format!("owner{n}"), now, later(10)).await.unwrap().len() })
    });
    let taken: usize = join_all(tries).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(taken, 2);
}

pub(super) async fn everything_told_is_there_for_the_auditor(test_store: &TestStore) {
    let (store, outbox) = (test_store.store(), &test_store.opened.outbox);
    let id = make(store.as_ref(), named("Ada")).await.unwrap();
    store.change_customer(&id, None, phone(1)).await.unwrap();
    let waiting = outbox.pending(&all(), 1).await.unwrap();
    outbox.mark_published(&[waiting[0].id.clone()]).await.unwrap();
    let facts = crate::audit_facts(test_store.url()).await.unwrap();
    assert_eq!((facts.customers.len(), facts.customers[0].last_sequence), (1, 2));
    let events: Vec<_> =
        facts.outbox.events.iter().map(|event| (event.topic.as_str(), event.sequence, event.published)).collect();
    assert_eq!(events, [("customers", 1, true), ("customers", 2, false)]);
    assert!(facts.outbox.events.iter().all(|event| event.subject == id.as_str()));
}
