//! Which messages a broker deletes, and how the audit detects it.

use std::time::Duration;

use bus::{Bus, Dump, Message};
use commerce::Timestamp;
use db::{Db, Options, query};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

use crate::{
    handlers::{Recorder, event, until},
    test_broker::{Kind, TestBroker},
};

fn plain(topic: &str) -> Message {
    Message { topic: topic.into(), key: "k".into(), payload: "{}".into() }
}

async fn kept(broker: &TestBroker) -> Dump {
    Bus::read_all(&broker.broker_url()).await.expect("reads")
}

fn topics(kept: &Dump) -> Vec<&str> {
    kept.messages.iter().map(|message| message.topic.as_str()).collect()
}

async fn log(broker: &TestBroker) -> Db {
    let url = format!("sqlite:{}", broker.path().join("bus.db").display());
    Db::open(&url, &Options::default(), None).await.expect("opens")
}

/// Makes all messages of the log that many days old.
async fn age(broker: &TestBroker, days: i64) {
    let db = log(broker).await;
    let mut tx = db.write().await.expect("begins");
    let past = Timestamp::now().micros() - days * 24 * 3_600_000_000;
    query("update log set at = $1").bind(past).execute(&mut tx).await.expect("ages");
    tx.commit().await.expect("commits");
    db.close().await;
}

/// Waits until the offsets of this many groups are stored.
async fn stored(broker: &TestBroker, groups: i64) {
    let db = log(broker).await;
    for _ in 0..1_000 {
        let mut tx = db.read().await.expect("reads");
        let row = query("select count(distinct grp) as n from offsets where topic = 'orders' and position >= 2")
            .fetch_one(&mut tx)
            .await
            .expect("reads");
        drop(tx);
        if row.get::<i64>("n").expect("a number") == groups {
            return db.close().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("offsets are not stored");
}

/// Starts a process and waits until its pruning has left these topics.
async fn swept(broker: &TestBroker, left: &[&str]) -> Dump {
    let process = broker.operator().await;
    for _ in 0..300 {
        if topics(&kept(broker).await) == left {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.stop().await;
    let kept = kept(broker).await;
    assert_eq!(topics(&kept), left);
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_log_prunes_what_is_old_and_was_consumed_by_all() {
    let broker = TestBroker::new(Kind::Embedded).await;
    let publisher = broker.publisher().await;
    publisher
        .publish(vec![event("a", 1), event("a", 2), plain("new-order"), plain("orders.dlq")])
        .await
        .expect("publishes");
    publisher.stop().await;
    assert!(kept(&broker).await.whole_since.is_empty());

    let (first, second, third) = (Recorder::default(), Recorder::default(), Recorder::default());
    let consumers = [broker.consumer("first", first.clone()).await, broker.consumer("second", second.clone()).await];
    until("two have them", || first.seen.count() == 2 && second.seen.count() == 2).await;
    for consumer in consumers {
        consumer.stop().await;
    }
    stored(&broker, 2).await;
    age(&broker, 6).await;
    swept(&broker, &["orders", "orders", "new-order", "orders.dlq"]).await;
    age(&broker, 8).await;
    // No group consumes new orders here, and the third group has not connected yet.
    let kept = swept(&broker, &["orders", "orders", "orders.dlq"]).await;
    let since = kept.whole_since["new-order"];
    assert!(since < Timestamp::now() && since > Timestamp::now().minus(Duration::from_secs(8 * 24 * 3_600)));

    let consumer = broker.consumer("third", third.clone()).await;
    until("the third has them", || third.seen.count() == 2).await;
    consumer.stop().await;
    stored(&broker, 3).await;
    swept(&broker, &["orders.dlq"]).await;

    let publisher = broker.publisher().await;
    publisher.publish(vec![event("a", 3)]).await.expect("publishes");
    publisher.stop().await;
    let consumer = broker.consumer("first", first.clone()).await;
    until("it continues where it stopped", || first.seen.by_subject()["a"] == [1, 2, 3]).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_reports_since_when_a_topic_is_complete() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let publisher = broker.publisher().await;
    // All of one key are in one partition of three.
    publisher.publish(vec![event("a", 1), event("a", 2)]).await.expect("publishes");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between = Timestamp::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    publisher.publish(vec![event("a", 3)]).await.expect("publishes");
    assert!(kept(&broker).await.whole_since.is_empty());

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.server().trim_start_matches("kafka://"));
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let forget = async |up_to: Offset| {
        let mut offsets = TopicPartitionList::new();
        for partition in 0..3 {
            offsets.add_partition_offset(&broker.name("orders"), partition, up_to).expect("an offset");
        }
        // Partitions with fewer messages than that refuse.
        admin.delete_records(&offsets, &AdminOptions::new()).await.expect("answers");
    };
    forget(Offset::Offset(2)).await;
    let shorter = kept(&broker).await;
    assert_eq!(shorter.messages.len(), 1);
    let since = shorter.whole_since["orders"];
    assert!(since >= between && since < Timestamp::now(), "{since}");

    let before = Timestamp::now();
    forget(Offset::End).await;
    let empty = kept(&broker).await;
    assert!(empty.messages.is_empty() && empty.whole_since["orders"] >= before);
    publisher.stop().await;
}
