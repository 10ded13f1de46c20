//! Reading all that Kafka keeps, outside any group.

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

use super::{PATIENCE, Settings, Watch, consume::outgoing};
use crate::{Dump, Error, Message};

/// A message and where it stands.
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) message: Message,
}

/// What is there of a topic.
struct Topic {
    found: Vec<Found>,
    /// From when on it is whole, if old messages are gone.
    whole_since: Option<Timestamp>,
}

/// All messages of some topics up to the ends that they have now, each partition in its order. Topics that are not
/// there are left out.
pub(crate) async fn read(settings: &Settings, topics: Vec<String>) -> Result<Vec<Found>, Error> {
    let found = read_topics(settings, topics).await?;
    Ok(found.into_iter().flat_map(|(_, topic)| topic.found).collect())
}

/// The same for an auditor, who wants to know what is gone, too.
pub(crate) async fn dump(settings: &Settings, topics: Vec<String>) -> Result<Dump, Error> {
    let mut kept = Dump::default();
    for (name, topic) in read_topics(settings, topics).await? {
        kept.messages.extend(topic.found.into_iter().map(|found| found.message));
        kept.whole_since.extend(topic.whole_since.map(|since| (name, since)));
    }
    Ok(kept)
}

async fn read_topics(settings: &Settings, topics: Vec<String>) -> Result<Vec<(String, Topic)>, Error> {
    let settings = settings.clone();
    let (done, outcome) = tokio::sync::oneshot::channel();
    // On a thread of its own, since librdkafka blocks here.
    std::thread::spawn(move || done.send(read_blocking(&settings, topics)).is_ok());
    outcome.await.map_err(|_| Error::Stopped)?
}

fn read_blocking(settings: &Settings, topics: Vec<String>) -> Result<Vec<(String, Topic)>, Error> {
    let mut config = settings.client();
    config
        // Asked for by librdkafka; nothing is ever committed, and nobody joins.
        .set("group.id", settings.topic("souk-reader"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Watch> = config.create_with_context(Watch::quiet())?;
    let mut found = Vec::with_capacity(topics.len());
    for name in topics {
        let topic = read_topic(&consumer, &settings.topic(&name), settings.prefix.len())?;
        found.push((name, topic));
    }
    Ok(found)
}

/// One topic at a time, since an end of partition that is told bears no topic.
fn read_topic(consumer: &BaseConsumer<Watch>, topic: &str, prefix: usize) -> Result<Topic, Error> {
    let mut open = BTreeMap::new();
    // Partitions of which the beginning is gone, each with the time of what is first there now. Of one that is empty
    // nobody knows when that was sent.
    let mut short: HashMap<i32, Option<Timestamp>> = HashMap::new();
    let mut from = TopicPartitionList::new();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        if low > 0 {
            short.insert(partition.id(), None);
        }
        if low < high {
            open.insert(partition.id(), high);
            from.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
    }
    consumer.assign(&from)?;
    let mut found: BTreeMap<i32, Vec<Found>> = BTreeMap::new();
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let (partition, offset) = (message.partition(), message.offset());
                if let Some(first @ None) = short.get_mut(&partition) {
                    *first = message.timestamp().to_millis().map(|millis| Timestamp::from_micros(millis * 1_000));
                }
                let Some(end) = open.get(&partition).copied() else { continue };
                if offset < end {
                    let message = outgoing(&message, prefix);
                    found.entry(partition).or_default().push(Found { partition, offset, message });
                }
                if offset + 1 >= end {
                    open.remove(&partition);
                }
            }
            // What stood there last is gone: compacted, or the mark of a transaction.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => tracing::debug!(%error, "Kafka"),
            None => {}
        }
        if heard.elapsed() > PATIENCE {
            return Err(Error::Silent);
        }
    }
    // Which partition a message would be in that is not there nobody says, so the shortest one counts.
    let whole_since = short.into_values().map(|first| first.unwrap_or_else(Timestamp::now)).max();
    Ok(Topic { found: found.into_values().flatten().collect(), whole_since })
}
