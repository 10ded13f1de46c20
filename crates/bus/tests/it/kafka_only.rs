//! What only Kafka does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{Bus, Event, Failure, Handler};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    handlers::{Counter, Recorder, event, until},
    world::{Kind, World},
};

/// Counts effects; is paused in the middle of its first work, as a virtual machine may be.
#[derive(Clone)]
struct Sleeper {
    counter: Counter,
    calls: Arc<AtomicUsize>,
}

impl Handler for Sleeper {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_secs(14)).await;
        }
        self.counter.handle(events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_gives_a_paused_consumers_work_to_another_and_its_waking_does_no_harm() {
    let Some(world) = World::new(Kind::Kafka).await else { return };
    let server = format!("{}?session.timeout.ms=6000&max.poll.interval.ms=6000", world.server());
    let world = world.at(server);
    let url = format!("sqlite:{}", world.path().join("effects.db").display());
    let counter = Counter::open(&url).await;
    let sleeper = Sleeper { counter: Counter::open(&url).await, calls: Arc::default() };
    let publisher = world.publisher().await;
    let one = world.consumer("first", sleeper.clone()).await;
    publisher.publish((1..=20).map(|n| event("a", n)).collect()).await.expect("publishes");
    until("the first one sleeps", || sleeper.calls.load(Ordering::SeqCst) == 1).await;
    let two = world.consumer("first", counter.clone()).await;
    until("the second one stands in", || counter.seen.different() == 20).await;
    publisher.publish((21..=40).map(|n| event("a", n)).collect()).await.expect("publishes");
    until("the second one goes on", || counter.seen.different() == 40).await;
    assert_eq!(sleeper.counter.seen.count(), 0, "the first one sleeps still");
    until("the first one wakes", || sleeper.counter.seen.count() > 0).await;
    publisher.publish((41..=60).map(|n| event("a", n)).collect()).await.expect("publishes");
    for _ in 0..600 {
        if counter.effects().await["a"].len() >= 60 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(counter.effects().await["a"], (1..=60).collect::<Vec<_>>());
    for process in [one, two, publisher] {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_topics_are_made_as_the_url_says_and_those_that_are_there_are_left_alone() {
    let Some(world) = World::new(Kind::Kafka).await else { return };
    let servers = world.server().trim_start_matches("kafka://").to_owned();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "souk-test");
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let there = world.name("stock");
    let topic = NewTopic::new(&there, 1, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.expect("answers")[0].as_ref().expect("made");

    let publisher = world.publisher().await;
    let handler = Recorder::default();
    let consumer = world.consumer("second", handler.clone()).await;
    publisher.publish(vec![event("a", 1), event("b", 1), event("a", 2)]).await.expect("publishes");
    until("all come", || handler.seen.different() == 3).await;
    let asking: BaseConsumer = config.create().expect("a client");
    for (name, partitions) in [("orders", 3), ("orders.dlq", 3), ("stock", 1), ("stock.dlq", 3)] {
        let metadata = asking.fetch_metadata(Some(&world.name(name)), Duration::from_secs(5)).expect("metadata");
        assert_eq!(metadata.topics()[0].partitions().len(), partitions, "{name}");
    }

    let log = Bus::read_all(&world.broker_url()).await.expect("reads").messages;
    let of_a: Vec<&str> = log.iter().filter(|m| m.key == "a").map(|m| m.payload.as_str()).collect();
    assert_eq!(log.len(), 3);
    assert!(of_a.len() == 2 && of_a[0].contains("\"a-1\"") && of_a[1].contains("\"a-2\""), "{log:?}");
    consumer.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_refuses_what_is_too_large_without_letting_what_follows_overtake() {
    let Some(world) = World::new(Kind::Kafka).await else { return };
    let publisher = world.publisher().await;
    let handler = Recorder::default();
    let consumer = world.consumer("first", handler.clone()).await;
    let mut large = event("a", 2);
    large.payload.push_str(&" ".repeat(2_000_000));
    publisher.publish(vec![event("a", 1), large, event("a", 3)]).await.expect_err("it is too large");
    publisher.publish(vec![event("a", 1), event("a", 2), event("a", 3)]).await.expect("publishes");
    until("all come", || handler.seen.different() == 3).await;
    assert_eq!(handler.seen.by_subject()["a"], [1, 2, 3]);
    consumer.stop().await;
    publisher.stop().await;
}
