//! Brokers that become unreachable and recover.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::process::Command;

use crate::{
    handlers::{Recorder, event, until},
    test_broker::{Kind, Process, Proxy, TestBroker},
};

/// Publishes until it works, as the relay does.
async fn publish_at_last(publisher: &Process, subject: &str, sequence: i64) {
    for _ in 0..60 {
        if publisher.publish(vec![event(subject, sequence)]).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the broker is back, but publishing fails");
}

/// A broker that is unreachable at the start, starts, stops and starts again.
async fn survives_outages(broker: &TestBroker, stop: impl AsyncFn(), start: impl AsyncFn()) {
    stop().await;
    let publisher = broker.publisher().await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    publisher.publish(vec![event("a", 1)]).await.expect_err("the broker is unreachable");
    start().await;
    publish_at_last(&publisher, "a", 1).await;
    until("the first one comes", || handler.seen.different() == 1).await;
    stop().await;
    publisher.publish(vec![event("a", 2)]).await.expect_err("the broker is unreachable again");
    start().await;
    publish_at_last(&publisher, "a", 2).await;
    publish_at_last(&publisher, "a", 3).await;
    until("the others come", || handler.seen.different() == 3).await;
    assert_eq!(handler.seen.by_subject()["a"], [1, 2, 3]);
    consumer.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_AMQP_URL: ./test starts it"]
async fn rabbitmq_may_stop_and_start_again() {
    let broker = TestBroker::new(Kind::Rabbit).await;
    let (before, after) = broker.server().split_once('@').expect("user and host");
    let (host, vhost) = after.split_once('/').expect("a virtual host");
    let proxy = Proxy::start(host.to_owned()).await;
    let url = format!("{before}@127.0.0.1:{}/{vhost}", proxy.port);
    let broker = broker.at(url);
    survives_outages(&broker, async || proxy.cut(), async || proxy.mend()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL and DAPRD: ./test starts them"]
async fn the_connection_to_the_dapr_sidecar_may_break() {
    let broker = TestBroker::new(Kind::Dapr).await;
    let sidecar = broker.sidecar("publisher", None).await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", sidecar.port)).await;
    let handler = Recorder::default();
    let consumer = broker.consumer("first", handler.clone()).await;
    let publisher = Process::start(&broker.dapr_url(proxy.port), Some(sidecar)).await;
    proxy.cut();
    publisher.publish(vec![event("a", 1)]).await.expect_err("the broker is unreachable");
    proxy.mend();
    publish_at_last(&publisher, "a", 1).await;
    until("it comes", || handler.seen.different() == 1).await;
    consumer.stop().await;
    publisher.stop().await;
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/env/servers/kafka");

/// Starts or stops a Kafka of the test's own. A proxy would not work: clients connect to the addresses that the brokers
/// advertise.
async fn kafka(action: &str, folder: &Path) -> String {
    let output =
        Command::new(SCRIPT).arg(action).arg(folder).stderr(Stdio::inherit()).output().await.expect("a script");
    assert!(output.status.success(), "{action}: {output:?}");
    String::from_utf8(output.stdout).expect("a text").trim().to_owned()
}

/// Stops the test's own Kafka however the test ends.
struct Stop(PathBuf);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = std::process::Command::new(SCRIPT).arg("stop").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_may_stop_and_start_again() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let folder = broker.path().join("kafka");
    let url = kafka("start", &folder).await;
    let broker = broker.at(url);
    let _stop = Stop(folder.clone());
    survives_outages(
        &broker,
        async || drop(kafka("stop", &folder).await),
        async || drop(kafka("start", &folder).await),
    )
    .await;
}

/// A sidecar requests the subscriptions once: when its health check first finds the service ready.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL and DAPRD: ./test starts them"]
async fn a_dapr_sidecar_waits_for_a_service_that_is_starting() {
    let broker = TestBroker::new(Kind::Dapr).await;
    let handler = Recorder::default();
    let consumer = broker.late_consumer("first", handler.clone(), Duration::from_secs(3)).await;
    let publisher = broker.publisher().await;
    publisher.publish(vec![event("a", 1)]).await.expect("publishes");
    until("it comes", || handler.seen.different() == 1).await;
    consumer.stop().await;
    publisher.stop().await;
}

/// A paused broker processes the contents of its sockets when it resumes: after the time-out of the publisher, and after it
/// published again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]
async fn kafka_that_is_paused_while_much_is_published_keeps_the_order() {
    let broker = TestBroker::new(Kind::Kafka).await;
    let folder = broker.path().join("kafka");
    let url = kafka("start", &folder).await;
    let pid = std::fs::read_to_string(folder.join("pid")).expect("a process id");
    let broker = broker.at(url);
    let _stop = Stop(folder.clone());
    let publisher = broker.publisher().await;
    let done = Arc::new(AtomicBool::new(false));
    let (ended, bus) = (Arc::clone(&done), publisher.bus.clone());
    let publishing = tokio::spawn(async move {
        let mut failures = 0;
        let mut last = 0;
        while !ended.load(Ordering::SeqCst) {
            let batch: Vec<_> =
                (last + 1..=last + 20).flat_map(|n| ["a", "b", "c", "d"].map(|key| event(key, n))).collect();
            match bus.publish(batch).await {
                Ok(()) => last += 20,
                Err(_) => failures += 1,
            }
        }
        (last, failures)
    });
    for seconds in [2, 13, 11] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Command::new("kill").args(["-STOP", pid.trim()]).status().await.expect("stops");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Command::new("kill").args(["-CONT", pid.trim()]).status().await.expect("continues");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    done.store(true, Ordering::SeqCst);
    let (last, failures) = publishing.await.expect("no panic");
    assert!(last > 0 && failures > 0, "{last} of each key, {failures} failures");
    let mut seen: HashMap<String, i64> = HashMap::new();
    let mut repeats = 0;
    for message in bus::Bus::read_all(&broker.broker_url()).await.expect("reads").messages {
        let body: serde_json::Value = serde_json::from_str(&message.payload).expect("JSON");
        let (sequence, before) = (body["sequence"].as_i64().expect("a number"), seen.entry(message.key).or_default());
        assert!(sequence <= *before + 1, "{sequence} follows {before}");
        repeats += i64::from(sequence <= *before);
        *before = sequence.max(*before);
    }
    eprintln!("{last} of each key, {failures} failures, {repeats} repeats");
    assert!(["a", "b", "c", "d"].iter().all(|key| seen[*key] >= last), "{seen:?} of {last}");
    publisher.stop().await;
}
