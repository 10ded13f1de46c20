//! The conformance suite that every broker passes.

use std::sync::atomic::Ordering;

use bus::{Bus, DeadLetterFilter, Message};

use crate::{
    handlers::{Blocked, Counter, Picky, Recorder, Stuck, event, until},
    test_broker::{Kind, TestBroker},
};

const KEYS: [&str; 7] = ["a", "b", "c", "d", "e/1", "f g", "ü"];

/// The next `n` events of each key, in turns.
fn turns(from: i64, n: i64) -> Vec<Message> {
    (from..from + n).flat_map(|sequence| KEYS.map(|key| event(key, sequence))).collect()
}

pub async fn events_of_one_key_come_in_order_to_every_group(broker: TestBroker) {
    let (first, second) = (Recorder::default(), Recorder::default());
    let one = broker.consumer("first", first.clone()).await;
    let two = broker.consumer("second", second.clone()).await;
    let publisher = broker.publisher().await;
    for batch in turns(1, 40).chunks(11) {
        publisher.publish(batch.to_vec()).await.expect("publishes");
    }
    until("both groups get all", || first.seen.different() == 280 && second.seen.different() == 280).await;
    assert_eq!((first.seen.damaged(), second.seen.damaged()), (0, 0));
    for seen in [first.seen.by_subject(), second.seen.by_subject()] {
        for key in KEYS {
            assert_eq!(seen[key], (1..=40).collect::<Vec<_>>(), "{key}");
        }
    }
    for process in [one, two, publisher] {
        process.stop().await;
    }
}

pub async fn a_group_that_waits_holds_up_no_other(broker: TestBroker) {
    let (waiting, free) = (Blocked::default(), Recorder::default());
    let one = broker.consumer("first", waiting.clone()).await;
    let two = broker.consumer("second", free.clone()).await;
    let publisher = broker.publisher().await;
    publisher.publish(turns(1, 10)).await.expect("publishes");
    until("the free group gets all", || free.seen.different() == 70).await;
    assert_eq!(waiting.seen.count(), 0);
    for process in [one, two, publisher] {
        process.stop().await;
    }
}

pub async fn a_group_continues_where_it_stopped(broker: TestBroker) {
    let publisher = broker.publisher().await;
    for from in [1, 21] {
        let handler = Recorder::default();
        let consumer = broker.consumer("first", handler.clone()).await;
        publisher.publish(turns(from, 20)).await.expect("publishes");
        until("the group gets what is new", || handler.seen.different() == 140).await;
        consumer.stop().await;
        let old = handler.seen.all().into_iter().find(|(_, sequence)| *sequence < from);
        assert_eq!(old, None, "it was done before");
    }
    // A group that connects for the first time gets all messages from the beginning.
    let newcomer = Recorder::default();
    let consumer = broker.consumer("third", newcomer.clone()).await;
    until("the newcomer gets all", || newcomer.seen.different() == 280).await;
    consumer.stop().await;
    publisher.stop().await;
}

pub async fn what_a_killed_consumer_had_not_done_comes_again(broker: TestBroker) {
    let publisher = broker.publisher().await;
    let stuck = Stuck::default();
    let doomed = broker.consumer("first", stuck.clone()).await;
    publisher.publish(turns(1, 10)).await.expect("publishes");
    until("the first one has something in hand", || stuck.seen.count() > 0).await;
    doomed.kill();
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    until("the second one gets all", || handler.seen.different() == 70).await;
    for key in KEYS {
        assert_eq!(handler.seen.by_subject()[key], (1..=10).collect::<Vec<_>>(), "{key}");
    }
    consumer.stop().await;
    publisher.stop().await;
}

pub async fn what_a_stopped_consumer_had_not_done_comes_again(broker: TestBroker) {
    let publisher = broker.publisher().await;
    let waiting = Blocked::default();
    let stopped = broker.consumer("first", waiting.clone()).await;
    publisher.publish(turns(1, 10)).await.expect("publishes");
    until("it has something in hand", || waiting.tries.load(Ordering::SeqCst) > 0).await;
    stopped.stop().await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    until("the next one gets all", || handler.seen.different() == 70).await;
    consumer.stop().await;
    publisher.stop().await;
}

pub async fn poison_goes_to_the_dead_letters_and_the_others_are_handled(broker: TestBroker) {
    let picky = Picky::default();
    let consumer = broker.consumer("first", picky.clone()).await;
    let publisher = broker.publisher().await;
    let batch = [event("good", 1), event("poison", 1), event("good", 2)];
    publisher.publish(batch.to_vec()).await.expect("publishes");
    until("all but the poison are taken", || picky.seen.different() == 2).await;
    let operator = broker.operator().await;
    let letters = loop {
        let letters = operator.bus.dead_letters(&DeadLetterFilter::default()).await.expect("letters");
        if !letters.is_empty() {
            break letters;
        }
    };
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!((letter.topic.as_str(), letter.group.as_str(), letter.key.as_str()), ("orders", "first", "poison"));
    assert_eq!((letter.reason.as_str(), letter.id.as_deref()), ("it is poison", Some("poison-1")));
    assert_eq!(letter.kind.as_deref(), Some("souk.order.placed"));
    for process in [consumer, publisher, operator] {
        process.stop().await;
    }
}

pub async fn what_has_to_wait_is_not_lost(broker: TestBroker) {
    let waiting = Blocked::default();
    let consumer = broker.consumer("first", waiting.clone()).await;
    let publisher = broker.publisher().await;
    publisher.publish(turns(1, 10)).await.expect("publishes");
    until("it was tried again", || waiting.tries.load(Ordering::SeqCst) > 3).await;
    waiting.open.store(true, Ordering::SeqCst);
    until("all come", || waiting.seen.different() == 70).await;
    for key in KEYS {
        assert_eq!(waiting.seen.by_subject()[key], (1..=10).collect::<Vec<_>>(), "{key}");
    }
    let operator = broker.operator().await;
    assert_eq!(operator.bus.dead_letters(&DeadLetterFilter::default()).await.expect("letters"), []);
    for process in [consumer, publisher, operator] {
        process.stop().await;
    }
}

pub async fn a_dead_letter_is_replayed_for_its_group_alone(broker: TestBroker) {
    let (picky, other) = (Picky::default(), Recorder::default());
    let one = broker.consumer("first", picky.clone()).await;
    let two = broker.consumer("second", other.clone()).await;
    let publisher = broker.publisher().await;
    let batch = [event("poison", 1), event("poison", 2), event("good", 1)];
    publisher.publish(batch.to_vec()).await.expect("publishes");
    until("the other group has all", || other.seen.different() == 3).await;
    let operator = broker.operator().await;
    let all = DeadLetterFilter::default();
    while operator.bus.dead_letters(&all).await.expect("letters").len() < 2 {}
    picky.cured.store(true, Ordering::SeqCst);

    let second =
        DeadLetterFilter { id: Some("poison-2".into()), topic: Some("orders".into()), ..DeadLetterFilter::default() };
    let (replayed, left) = operator.bus.replay(&second).await.expect("replays");
    assert_eq!((replayed.len(), left.len()), (1, 0));
    until("it comes to the group", || picky.seen.all().contains(&("poison".into(), 2))).await;
    let letters = operator.bus.dead_letters(&all).await.expect("letters");
    assert_eq!(letters.iter().map(|letter| letter.id.as_deref()).collect::<Vec<_>>(), [Some("poison-1")]);
    let nobody = DeadLetterFilter { group: Some("second".into()), ..DeadLetterFilter::default() };
    assert_eq!(operator.bus.dead_letters(&nobody).await.expect("letters"), []);

    operator.bus.replay(&all).await.expect("replays");
    until("the other one comes, too", || picky.seen.all().contains(&("poison".into(), 1))).await;
    assert_eq!(operator.bus.dead_letters(&all).await.expect("letters"), []);
    publisher.publish(vec![event("good", 2)]).await.expect("publishes");
    until("the other group continues", || other.seen.different() == 4).await;
    assert_eq!(other.seen.count(), 4, "it got nothing twice: {:?}", other.seen.all());
    for process in [one, two, publisher, operator] {
        process.stop().await;
    }
}

pub async fn events_behind_a_dead_letter_wait_and_take_effect_in_order_after_it(broker: TestBroker) {
    let folder = tempfile::tempdir().expect("a folder");
    let counter = Counter::open(&format!("sqlite:{}", folder.path().join("effects.db").display())).await;
    *counter.poison.lock().expect("no panic before") = Some("order-2".into());
    let consumer = broker.consumer("first", counter.clone()).await;
    let publisher = broker.publisher().await;
    publisher.publish((1..=4).map(|n| event("order", n)).collect()).await.expect("publishes");
    publisher.publish(vec![event("other", 1), event("other", 2)]).await.expect("publishes");
    until("the other subject is not held up", || counter.seen.by_subject().get("other").is_some_and(|n| n.len() == 2))
        .await;
    let operator = broker.operator().await;
    let all = DeadLetterFilter::default();
    while operator.bus.dead_letters(&all).await.expect("letters").len() < 3 {}
    assert_eq!(counter.effects().await["order"], [1]);

    // A replay of what waits, or one that fails again, changes nothing.
    operator.bus.replay(&all).await.expect("replays");
    while operator.bus.dead_letters(&all).await.expect("letters").len() < 3 {}
    assert_eq!(counter.effects().await["order"], [1]);
    *counter.poison.lock().expect("no panic before") = None;
    operator.bus.replay(&all).await.expect("replays");
    until("all take effect", || counter.seen.by_subject()["order"].len() == 4).await;
    publisher.publish(vec![event("order", 5)]).await.expect("publishes");
    until("later ones, too", || counter.seen.by_subject()["order"].len() == 5).await;
    assert_eq!(counter.effects().await["order"], [1, 2, 3, 4, 5]);
    assert_eq!(operator.bus.dead_letters(&all).await.expect("letters"), []);
    for process in [consumer, publisher, operator] {
        process.stop().await;
    }
}

pub async fn what_follows_a_first_event_in_the_dead_letters_waits_for_it(broker: TestBroker) {
    let folder = tempfile::tempdir().expect("a folder");
    let counter = Counter::open(&format!("sqlite:{}", folder.path().join("effects.db").display())).await;
    *counter.poison.lock().expect("no panic before") = Some("order-1".into());
    let consumer = broker.consumer("first", counter.clone()).await;
    let publisher = broker.publisher().await;
    publisher.publish(vec![event("order", 1)]).await.expect("publishes");
    let operator = broker.operator().await;
    let all = DeadLetterFilter::default();
    while operator.bus.dead_letters(&all).await.expect("letters").is_empty() {}
    // The inbox knows nothing of the aggregate but the letter.
    publisher.publish(vec![event("order", 2), event("other", 1)]).await.expect("publishes");
    until("the other subject is not held up", || counter.seen.by_subject().contains_key("other")).await;
    assert_eq!(counter.effects().await.get("order"), None);
    *counter.poison.lock().expect("no panic before") = None;
    while operator.bus.dead_letters(&all).await.expect("letters").len() < 2 {}
    operator.bus.replay(&all).await.expect("replays");
    until("both take effect", || counter.seen.by_subject().get("order").is_some_and(|n| n.len() == 2)).await;
    assert_eq!(counter.effects().await["order"], [1, 2]);
    for process in [consumer, publisher, operator] {
        process.stop().await;
    }
}

pub async fn two_consumers_of_a_group_double_no_effect_and_stand_in_for_each_other(broker: TestBroker) {
    let url = format!("sqlite:{}", broker.path().join("effects.db").display());
    let (left, right) = (Counter::open(&url).await, Counter::open(&url).await);
    let one = broker.consumer("first", left.clone()).await;
    let two = broker.consumer("first", right.clone()).await;
    let publisher = broker.publisher().await;
    for batch in turns(1, 40).chunks(20) {
        publisher.publish(batch.to_vec()).await.expect("publishes");
    }
    until("something is done", || left.seen.count() + right.seen.count() > 50).await;
    // The one that has handled more is killed.
    let (gone, stays) = if left.seen.count() > right.seen.count() { (one, two) } else { (two, one) };
    gone.kill();
    for batch in turns(41, 40).chunks(20) {
        publisher.publish(batch.to_vec()).await.expect("publishes");
    }
    for _ in 0..1_200 {
        if left.effects().await.values().map(Vec::len).sum::<usize>() >= 560 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let effects = left.effects().await;
    for key in KEYS {
        assert_eq!(effects[key], (1..=80).collect::<Vec<_>>(), "{key}");
    }
    stays.stop().await;
    publisher.stop().await;
}

pub async fn a_big_batch_arrives_whole(broker: TestBroker) {
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    let publisher = broker.publisher().await;
    let subject = |n: i64| format!("s{}", n % 500);
    let messages: Vec<Message> = (0..5_000).map(|n| event(&subject(n), n / 500 + 1)).collect();
    publisher.publish(messages).await.expect("publishes");
    until("all come", || handler.seen.count() >= 5_000).await;
    let seen = handler.seen.by_subject();
    assert_eq!(seen.len(), 500);
    assert!(seen.values().all(|sequences| *sequences == (1..=10).collect::<Vec<_>>()));
    consumer.stop().await;
    publisher.stop().await;
}

pub async fn plain_json_for_other_clients_goes_out_as_it_is(broker: TestBroker) {
    let publisher = broker.publisher().await;
    let plain = Message { topic: "new-order".into(), key: "k 1".into(), payload: r#"{"total": 12.10}"#.into() };
    publisher.publish(vec![plain.clone()]).await.expect("publishes, though no group consumes it");
    // RabbitMQ drops messages without a consumer.
    if broker.kind != Kind::Rabbit {
        assert_eq!(Bus::read_all(&broker.broker_url()).await.expect("reads").messages, [plain]);
    }
    publisher.stop().await;
}
