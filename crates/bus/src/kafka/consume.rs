//! Consumes a group's messages from Kafka.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use prometheus::IntGauge;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};

use super::{ClientObserver, Kafka, offload};
use crate::{
    Error, Message,
    consumer::{self, BATCH, Incoming},
};

/// How often librdkafka is polled for events of its connections while no message arrives.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after an error that the client recovers from by itself.
const PAUSE: Duration = Duration::from_millis(100);

impl Kafka {
    pub(crate) fn source(
        self: &Arc<Self>,
        group: &'static str,
        topics: &'static [&'static str],
        lag: IntGauge,
    ) -> Source {
        Source { kafka: Arc::clone(self), group, topics, lag }
    }
}

/// A cluster as the source of a group's messages.
pub(crate) struct Source {
    kafka: Arc<Kafka>,
    group: &'static str,
    topics: &'static [&'static str],
    lag: IntGauge,
}

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        // A group that subscribes before its topics exist would discover them minutes later.
        self.kafka.wait_for_topics().await;
        let settings = &self.kafka.settings;
        let mut config = settings.client();
        // By default librdkafka prefetches 64 MiB, and then waits a second before it fetches again.
        let defaults =
            [("queued.min.messages", "2000"), ("queued.max.messages.kbytes", "8192"), ("fetch.queue.backoff.ms", "20")];
        for (name, default) in defaults {
            if config.get(name).is_none() {
                config.set(name, default);
            }
        }
        config
            .set("group.id", settings.topic(self.group))
            // Stored offsets are committed periodically, when partitions are revoked, and when the client closes. An offset is
            // stored when the effect of its message is durable.
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", "2000");
        let consumer: StreamConsumer<ClientObserver> =
            config.create_with_context(ClientObserver::new(self.group, Some(self.lag.clone())))?;
        let topics: Vec<String> = self.topics.iter().map(|topic| settings.topic(topic)).collect();
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Session { consumer, prefix: settings.prefix.len(), read: HashMap::new(), logged_error: String::new() })
    }
}

/// A member of a group.
pub(crate) struct Session {
    consumer: StreamConsumer<ClientObserver>,
    /// Length of the prefix of topic names, in bytes.
    prefix: usize,
    /// The next offset of each partition of the last batch.
    read: HashMap<(String, i32), i64>,
    /// The last error that was logged.
    logged_error: String,
}

impl consumer::Session for Session {
    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        self.read.clear();
        let mut messages = Vec::new();
        let Self { consumer, prefix, read, logged_error } = self;
        let mut stream = consumer.stream();
        loop {
            let next = if messages.is_empty() {
                match tokio::time::timeout(POLL_INTERVAL, stream.next()).await {
                    Ok(next) => next,
                    Err(_) => continue,
                }
            } else {
                match stream.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            match next {
                Some(Ok(message)) => {
                    read.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
                    // With the time, since the offsets of a topic that is created anew start at zero again.
                    let time = message.timestamp().to_millis().unwrap_or_default();
                    let broker_id = format!("{}/{}/{time}", message.partition(), message.offset());
                    messages.push(Incoming { message: to_message(&message, *prefix), broker_id });
                    if messages.len() == BATCH {
                        break;
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error.into()),
                Some(Err(error)) => {
                    log_changed_error(&error, logged_error);
                    if !messages.is_empty() {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                None => return Err(Error::Stopped),
            }
        }
        logged_error.clear();
        Ok(messages)
    }

    async fn acknowledge(&mut self) {
        let mut offsets = TopicPartitionList::with_capacity(self.read.len());
        for ((topic, partition), offset) in self.read.drain() {
            // Fails only for invalid offsets, which no message has.
            let _ = offsets.add_partition_offset(&topic, partition, Offset::Offset(offset));
        }
        if let Err(error) = self.consumer.store_offsets(&offsets) {
            // The partition moved to another replica, which handles these messages again; the inbox drops them.
            tracing::debug!(%error, "offsets are not stored");
        }
    }

    async fn close(self) {
        // Commits the offsets and leaves the group, which waits for the broker.
        offload(move || drop(self.consumer)).await;
    }
}

/// Logs an error unless it is the same as the last one; the client retries by itself.
fn log_changed_error(error: &KafkaError, last: &mut String) {
    // Logged by the observer, or harmless: after a poll that came too late the partitions move, and this member rejoins.
    let ignored = [
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::PollExceeded,
        RDKafkaErrorCode::UnknownTopicOrPartition,
    ];
    let reason = error.to_string();
    if error.rdkafka_error_code().is_some_and(|code| ignored.contains(&code)) {
        tracing::debug!(reason, "Kafka");
    } else if *last != reason {
        tracing::warn!(reason, "Kafka delivers nothing; waiting");
        *last = reason;
    }
}

/// Converts a message of librdkafka.
pub(super) fn to_message(message: &BorrowedMessage<'_>, prefix: usize) -> Message {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    Message {
        topic: message.topic().get(prefix..).unwrap_or_default().to_owned(),
        key: text(message.key()),
        payload: text(message.payload()),
    }
}
