//! Tests of behaviour that only Kafka has.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{Bus, DeadLetter, DeadLetterFilter, Event, Failure, Handler, Message};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    handlers::{Counter, Picky, Recorder, event, until},
    test_broker::{Kind, TestBroker},
};

/// Counts effects; pauses during its first batch, as a suspended virtual machine would.
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
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_gives_a_paused_consumers_work_to_another_and_its_waking_does_no_harm() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let server = format!("{}?session.timeout.ms=6000&max.poll.interval.ms=6000", broker.server());
    let broker = broker.at(server);
    let url = format!("sqlite:{}", broker.path().join("effects.db").display());
    let counter = Counter::open(&url).await;
    let sleeper = Sleeper { counter: Counter::open(&url).await, calls: Arc::default() };
    let publisher = broker.publisher().await;
    let one = broker.consumer("first", sleeper.clone()).await;
    publisher.publish((1..=20).map(|n| event("a", n)).collect()).await.expect("publishes");
    until("the first one sleeps", || sleeper.calls.load(Ordering::SeqCst) == 1).await;
    let two = broker.consumer("first", counter.clone()).await;
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

fn client(broker: &TestBroker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.server().trim_start_matches("kafka://")).set("group.id", "souk-test");
    config
}

/// Creates a topic as its owner would.
async fn create_topic(broker: &TestBroker, topic: NewTopic<'_>) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().expect("a client");
    admin.create_topics([&topic], &AdminOptions::new()).await.expect("answers")[0].as_ref().expect("made");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_topics_are_made_as_the_url_says_and_those_that_are_there_are_left_alone() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let config = client(&broker);
    let there = broker.name("stock");
    create_topic(&broker, NewTopic::new(&there, 1, TopicReplication::Fixed(1))).await;

    let publisher = broker.publisher().await;
    let handler = Recorder::default();
    let consumer = broker.consumer("second", handler.clone()).await;
    publisher.publish(vec![event("a", 1), event("b", 1), event("a", 2)]).await.expect("publishes");
    until("all come", || handler.seen.different() == 3).await;
    let asking: BaseConsumer = config.create().expect("a client");
    for (name, partitions) in [("orders", 3), ("orders.dlq", 3), ("stock", 1), ("stock.dlq", 3)] {
        let metadata = asking.fetch_metadata(Some(&broker.name(name)), Duration::from_secs(5)).expect("metadata");
        assert_eq!(metadata.topics()[0].partitions().len(), partitions, "{name}");
    }

    let log = Bus::read_all(&broker.broker_url()).await.expect("reads").messages;
    let of_a: Vec<&str> = log.iter().filter(|m| m.key == "a").map(|m| m.payload.as_str()).collect();
    assert_eq!(log.len(), 3);
    assert!(of_a.len() == 2 && of_a[0].contains("\"a-1\"") && of_a[1].contains("\"a-2\""), "{log:?}");
    consumer.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_refuses_what_is_too_large_without_letting_what_follows_overtake() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let publisher = broker.publisher().await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    let mut large = event("a", 2);
    large.payload.push_str(&" ".repeat(17 << 20));
    publisher.publish(vec![event("a", 1), large, event("a", 3)]).await.expect_err("it is too large");
    publisher.publish(vec![event("a", 1), event("a", 2), event("a", 3)]).await.expect("publishes");
    until("all come", || handler.seen.different() == 3).await;
    assert_eq!(handler.seen.by_subject()["a"], [1, 2, 3]);
    consumer.stop().await;
    publisher.stop().await;
}

/// An event with padding in its payload.
fn padded(subject: &str, sequence: i64, padding: &str) -> Message {
    let mut message = event(subject, sequence);
    let mut payload: serde_json::Value = serde_json::from_str(&message.payload).expect("JSON");
    payload["data"]["padding"] = padding.into();
    message.payload = payload.to_string();
    message
}

/// An incompressible text.
fn noise(bytes: usize) -> String {
    (0..bytes / 32).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_takes_events_larger_than_its_own_limit() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let publisher = broker.publisher().await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    let batch = vec![event("a", 1), padded("a", 2, &noise(3 << 20)), padded("a", 3, &noise(9 << 20)), event("a", 4)];
    publisher.publish(batch).await.expect("publishes");
    until("all come", || handler.seen.different() == 4).await;
    assert_eq!((&handler.seen.by_subject()["a"][..], handler.seen.damaged()), (&[1, 2, 3, 4][..], 0));
    consumer.stop().await;
    publisher.stop().await;
}

/// The dead letter of a message that cannot be handled, published between two that can.
async fn letter_of(broker: &TestBroker, poison: Message) -> DeadLetter {
    let picky = Picky::default();
    let publisher = broker.publisher().await;
    let consumer = broker.consumer("first", picky.clone()).await;
    publisher.publish(vec![event("good", 1), poison, event("good", 2)]).await.expect("publishes");
    until("the others are taken", || picky.seen.different() == 2).await;
    consumer.stop().await;
    let mut letters = publisher.bus.dead_letters(&DeadLetterFilter::default()).await.expect("letters");
    publisher.stop().await;
    assert_eq!(letters.len(), 1);
    letters.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_keeps_a_letter_that_is_larger_than_its_message() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let poison = padded("poison", 1, &"\"\\".repeat(225_000));
    assert!(poison.payload.len() > 900_000 && poison.payload.len() < 1_000_000, "{}", poison.payload.len());
    let letter = letter_of(&broker, poison.clone()).await;
    assert_eq!((letter.payload, letter.id.as_deref()), (poison.payload, Some("poison-1")));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_keeps_the_beginning_of_a_letter_that_its_owners_topic_refuses() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let name = broker.name("orders.dlq");
    create_topic(&broker, NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "100000")).await;
    let poison = padded("poison", 1, &noise(900_000));
    let letter = letter_of(&broker, poison.clone()).await;
    assert!(letter.payload.len() > 40_000 && poison.payload.starts_with(&letter.payload), "{}", letter.payload.len());
    assert!(letter.reason.starts_with("it is poison (of 9"), "{}", letter.reason);
}
