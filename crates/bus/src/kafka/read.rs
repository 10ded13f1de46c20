//! Reads all messages of topics, outside of any consumer group.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use commerce::Timestamp;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
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
    let mut reading = Reading::default();
    for name in &topics {
        reading.add(&consumer, &settings.topic(name), most)?;
    }
    reading.read(&consumer, settings.prefix.len())?;
    Ok(topics.into_iter().map(|name| (name.clone(), reading.take(&settings.topic(&name)))).collect())
}

/// How long no message may come before partitions whose last offsets have no message are looked for.
const STALLED: Duration = Duration::from_secs(2);

/// A topic's partition.
type Partition = (String, i32);

/// The reading of several topics up to their present ends.
#[derive(Default)]
struct Reading {
    from: TopicPartitionList,
    /// The ends of the partitions that were not read to them.
    unread: BTreeMap<Partition, i64>,
    /// Partitions whose beginning was deleted, each with the time of its first message now. For an empty one it is not known.
    truncated: BTreeMap<Partition, Option<Timestamp>>,
    found: BTreeMap<Partition, Vec<StoredMessage>>,
}

impl Reading {
    /// Adds a topic, at most the last `most` messages of each partition.
    fn add(&mut self, consumer: &BaseConsumer<ClientObserver>, topic: &str, most: i64) -> Result<(), Error> {
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
            let key = (topic.to_owned(), partition.id());
            if low > 0 {
                self.truncated.insert(key.clone(), None);
            }
            if low < high {
                let from = Offset::Offset(low.max(high.saturating_sub(most)));
                self.from.add_partition_offset(topic, partition.id(), from)?;
                self.unread.insert(key, high);
            }
        }
        Ok(())
    }

    /// Reads all topics at once: one after the other each would wait for a fetch of its own.
    fn read(&mut self, consumer: &BaseConsumer<ClientObserver>, prefix: usize) -> Result<(), Error> {
        consumer.assign(&self.from)?;
        self.poll(consumer, prefix, None, STALLED);
        // The last offsets of a partition may have no message: compacted, or a transaction marker. The event that its end was
        // reached names no topic, so what is left is read one topic at a time.
        while let Some(((topic, _), _)) = self.unread.first_key_value() {
            let topic = topic.clone();
            let mut from = TopicPartitionList::new();
            for (key, _) in self.unread.iter().filter(|((name, _), _)| *name == topic) {
                let read = self.found.get(key).and_then(|messages| messages.last()).map(|last| last.offset + 1);
                let begin = self.from.find_partition(&topic, key.1).map_or(Offset::Beginning, |begin| begin.offset());
                from.add_partition_offset(&topic, key.1, read.map_or(begin, Offset::Offset))?;
            }
            consumer.assign(&from)?;
            self.poll(consumer, prefix, Some(&topic), TIMEOUT);
            if self.unread.keys().any(|(name, _)| *name == topic) {
                return Err(Error::TimedOut);
            }
        }
        Ok(())
    }

    /// Reads until nothing is unread, of `topic` if that alone is assigned, or until no message came for so long.
    fn poll(
        &mut self,
        consumer: &BaseConsumer<ClientObserver>,
        prefix: usize,
        topic: Option<&str>,
        patience: Duration,
    ) {
        let mut last_message_at = Instant::now();
        let is_left = |(name, _): &Partition| topic.is_none_or(|topic| topic == name);
        while self.unread.keys().any(is_left) && last_message_at.elapsed() <= patience {
            match consumer.poll(Duration::from_millis(100)) {
                // Messages that come after the end, while this reads, are no progress.
                Some(Ok(message)) if self.take_in(&message, prefix) => last_message_at = Instant::now(),
                Some(Ok(_)) | None => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(topic) = topic {
                        self.unread.remove(&(topic.to_owned(), partition));
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "Kafka"),
            }
        }
    }

    /// Takes a message, unless its partition was read to its end before.
    fn take_in(&mut self, message: &BorrowedMessage<'_>, prefix: usize) -> bool {
        let (partition, offset) = (message.partition(), message.offset());
        let key = (message.topic().to_owned(), partition);
        if let Some(first @ None) = self.truncated.get_mut(&key) {
            *first = message.timestamp().to_millis().map(|millis| Timestamp::from_micros(millis * 1_000));
        }
        let Some(end) = self.unread.get(&key).copied() else { return false };
        if offset + 1 >= end {
            self.unread.remove(&key);
        }
        if offset < end {
            let message = to_message(message, prefix);
            self.found.entry(key).or_default().push(StoredMessage { partition, offset, message });
        }
        true
    }

    /// What was found of a topic.
    fn take(&mut self, topic: &str) -> Topic {
        let whole = (topic.to_owned(), i32::MIN)..=(topic.to_owned(), i32::MAX);
        // A deleted message could have been in any partition, so the latest of these times counts.
        let firsts = self.truncated.range(whole.clone()).map(|(_, first)| first.unwrap_or_else(Timestamp::now));
        let whole_since = firsts.max();
        let messages = self.found.range_mut(whole).flat_map(|(_, messages)| std::mem::take(messages)).collect();
        Topic { messages, whole_since }
    }
}
