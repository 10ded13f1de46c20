//! Taking a group's messages from Kafka.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use prometheus::IntGauge;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};

use super::{Kafka, Watch, offload};
use crate::{
    Error, Message,
    consumer::{self, BATCH, Incoming},
};

/// How often librdkafka gets a chance to tell of its connections while no message comes.
const LISTEN: Duration = Duration::from_secs(1);
/// Wait after an error that the client mends by itself.
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

/// A cluster as a group reads it.
pub(crate) struct Source {
    kafka: Arc<Kafka>,
    group: &'static str,
    topics: &'static [&'static str],
    lag: IntGauge,
}

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        // A group that subscribes before its topics are there would find them minutes later.
        self.kafka.topics().await;
        let settings = &self.kafka.settings;
        let mut config = settings.client();
        // librdkafka reads 64 MiB ahead by itself, and then looks again after a second only.
        let small =
            [("queued.min.messages", "2000"), ("queued.max.messages.kbytes", "8192"), ("fetch.queue.backoff.ms", "20")];
        for (name, default) in small {
            if config.get(name).is_none() {
                config.set(name, default);
            }
        }
        config
            .set("group.id", settings.topic(self.group))
            // What is stored is committed by itself, and when partitions go or the client closes; it is stored when its
            // effect is durable.
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", "2000");
        let consumer: StreamConsumer<Watch> =
            config.create_with_context(Watch::new(self.group, Some(self.lag.clone())))?;
        let topics: Vec<String> = self.topics.iter().map(|topic| settings.topic(topic)).collect();
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Session { consumer, prefix: settings.prefix.len(), taken: HashMap::new(), complaint: String::new() })
    }
}

/// A member of a group.
pub(crate) struct Session {
    consumer: StreamConsumer<Watch>,
    /// Bytes before the names of topics.
    prefix: usize,
    /// The next offset of each partition that messages were given out of.
    taken: HashMap<(String, i32), i64>,
    /// The last error that was told.
    complaint: String,
}

impl consumer::Session for Session {
    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        self.taken.clear();
        let mut messages = Vec::new();
        let Self { consumer, prefix, taken, complaint } = self;
        let mut stream = consumer.stream();
        loop {
            let next = if messages.is_empty() {
                match tokio::time::timeout(LISTEN, stream.next()).await {
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
                    taken.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
                    // The time too: a topic that is made anew begins again at zero.
                    let time = message.timestamp().to_millis().unwrap_or_default();
                    let place = format!("{}/{}/{time}", message.partition(), message.offset());
                    messages.push(Incoming { message: outgoing(&message, *prefix), place });
                    if messages.len() == BATCH {
                        break;
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error.into()),
                Some(Err(error)) => {
                    complain(&error, complaint);
                    if !messages.is_empty() {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                None => return Err(Error::Stopped),
            }
        }
        complaint.clear();
        Ok(messages)
    }

    async fn done(&mut self) {
        let mut offsets = TopicPartitionList::with_capacity(self.taken.len());
        for ((topic, partition), offset) in self.taken.drain() {
            // Fails only for offsets that no message has.
            let _ = offsets.add_partition_offset(&topic, partition, Offset::Offset(offset));
        }
        if let Err(error) = self.consumer.store_offsets(&offsets) {
            // The partition went to another replica meanwhile: it handles these again, and its inbox drops them.
            tracing::debug!(%error, "offsets are not stored");
        }
    }

    async fn close(self) {
        // Commits and leaves the group, for which it waits for the broker.
        offload(move || drop(self.consumer)).await;
    }
}

/// Tells each error once until messages come again; the client tries again by itself.
fn complain(error: &KafkaError, told: &mut String) {
    // Told by the watch, or of no interest: after the longest pause another replica goes on, and so does this one.
    let known = [
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::PollExceeded,
        RDKafkaErrorCode::UnknownTopicOrPartition,
    ];
    let reason = error.to_string();
    if error.rdkafka_error_code().is_some_and(|code| known.contains(&code)) {
        tracing::debug!(reason, "Kafka");
    } else if *told != reason {
        tracing::warn!(reason, "Kafka brings nothing; waiting");
        *told = reason;
    }
}

/// A message as the other adapters give it.
pub(super) fn outgoing(message: &BorrowedMessage<'_>, prefix: usize) -> Message {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    Message {
        topic: message.topic().get(prefix..).unwrap_or_default().to_owned(),
        key: text(message.key()),
        payload: text(message.payload()),
    }
}
