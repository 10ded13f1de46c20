//! Reads all messages of topics, outside of any consumer group.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use commerce::Timestamp;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use super::{ClientObserver, Settings, TIMEOUT, consume::to_message};
use crate::{Dump, Error, Message, dead_letters};

/// A message and its position.
pub(crate) struct StoredMessage {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) message: Message,
}

/// The contents of a topic.
struct Topic {
    messages: Vec<StoredMessage>,
    /// Since when it is complete, if old messages were deleted.
    whole_since: Option<Timestamp>,
}

/// All messages of these topics up to their current ends, each partition in its order. Topics that do not exist are left
/// out.
pub(crate) async fn read(settings: &Settings, topics: Vec<String>) -> Result<Vec<StoredMessage>, Error> {
    let found = read_topics(settings, topics, i64::MAX).await?;
    Ok(found.into_iter().flat_map(|(_, topic)| topic.messages).collect())
}

/// As [`read`], but only the last `most` of each partition.
pub(crate) async fn tail(settings: &Settings, topics: Vec<String>, most: i64) -> Result<Vec<StoredMessage>, Error> {
    let found = read_topics(settings, topics, most).await?;
    Ok(found.into_iter().flat_map(|(_, topic)| topic.messages).collect())
}

/// As [`read`], with the time since which each topic is complete, for the audit.
pub(crate) async fn dump(settings: &Settings, topics: Vec<String>) -> Result<Dump, Error> {
    let mut dump = Dump::default();
    for (name, topic) in read_topics(settings, topics, i64::MAX).await? {
        let position = |found: &StoredMessage| format!("{}/{}", found.partition, found.offset);
        let positions = topic.messages.iter().map(|found| (position(found), found.message.clone()));
        dump.dead_letters.extend(dead_letters::unreplayed(positions));
        dump.messages.extend(topic.messages.into_iter().map(|found| found.message));
        dump.whole_since.extend(topic.whole_since.map(|since| (name, since)));
    }
    Ok(dump)
}

async fn read_topics(settings: &Settings, topics: Vec<String>, most: i64) -> Result<Vec<(String, Topic)>, Error> {
    let settings = settings.clone();
    let (done, outcome) = tokio::sync::oneshot::channel();
    // On a thread of its own, since these calls of librdkafka block.
    std::thread::spawn(move || done.send(read_blocking(&settings, topics, most)).is_ok());
    outcome.await.map_err(|_| Error::Stopped)?
}

fn read_blocking(settings: &Settings, topics: Vec<String>, most: i64) -> Result<Vec<(String, Topic)>, Error> {
    let mut config = settings.client();
    config
        // Required by librdkafka; the group is never joined, and nothing is committed.
        .set("group.id", settings.topic("souk-reader"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<ClientObserver> = config.create_with_context(ClientObserver::silent())?;
    let mut found = Vec::with_capacity(topics.len());
    for name in topics {
        let topic = read_topic(&consumer, &settings.topic(&name), settings.prefix.len(), most)?;
        found.push((name, topic));
    }
    Ok(found)
}

/// Reads one topic at a time, since an end-of-partition event has no topic.
fn read_topic(consumer: &BaseConsumer<ClientObserver>, topic: &str, prefix: usize, most: i64) -> Result<Topic, Error> {
    let mut unread = BTreeMap::new();
    // Partitions whose beginning was deleted, each with the time of its first message now. For an empty one it is not
    // known.
    let mut truncated: HashMap<i32, Option<Timestamp>> = HashMap::new();
    let mut from = TopicPartitionList::new();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
        if low > 0 {
            truncated.insert(partition.id(), None);
        }
        if low < high {
            unread.insert(partition.id(), high);
            from.add_partition_offset(topic, partition.id(), Offset::Offset(low.max(high.saturating_sub(most))))?;
        }
    }
    consumer.assign(&from)?;
    let mut found: BTreeMap<i32, Vec<StoredMessage>> = BTreeMap::new();
    let mut last_message_at = Instant::now();
    while !unread.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                last_message_at = Instant::now();
                let (partition, offset) = (message.partition(), message.offset());
                if let Some(first @ None) = truncated.get_mut(&partition) {
                    *first = message.timestamp().to_millis().map(|millis| Timestamp::from_micros(millis * 1_000));
                }
                let Some(end) = unread.get(&partition).copied() else { continue };
                if offset < end {
                    let message = to_message(&message, prefix);
                    found.entry(partition).or_default().push(StoredMessage { partition, offset, message });
                }
                if offset + 1 >= end {
                    unread.remove(&partition);
                }
            }
            // The last offsets have no message: compacted, or a transaction marker.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(unread.remove(&partition)),
            Some(Err(error)) => tracing::debug!(%error, "Kafka"),
            None => {}
        }
        if last_message_at.elapsed() > TIMEOUT {
            return Err(Error::TimedOut);
        }
    }
    // A deleted message could have been in any partition, so the latest of these times counts.
    let whole_since = truncated.into_values().map(|first| first.unwrap_or_else(Timestamp::now)).max();
    Ok(Topic { messages: found.into_values().flatten().collect(), whole_since })
}
