//! Whether a store is older than the bus, because it was restored from a backup of an earlier time.
//!
//! Its service would then publish other events under numbers that consumers have handled, and take the messages about its lost orders
//! for those of another program.

use commerce::Timestamp;
use db::{Db, query};

use crate::{Bus, Embedded, Error, Event, Message, broker::Broker, kafka};

/// Messages that are compared, of each topic and partition.
const TAIL: i64 = 200;

/// How much older than the last pruned event one may be and still be expected in the store.
const MARGIN: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// The store lacks an event that its service has published.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store of {service} is older than the bus: event {sequence} of {subject} on {topic} was published and is not in the store. \
     It was restored from a backup of an earlier time. Restore a newer backup of this store, or the stores of all services and the \
     bus from backups of one time; if the data is given up, remove that of the bus as well"
)]
pub struct StaleStore {
    service: String,
    topic: String,
    subject: String,
    sequence: i64,
}

impl Bus {
    /// Refuses a store that lacks one of the last events on the bus that its service has published. A broker without a log, or one
    /// that does not answer, tells nothing.
    pub async fn check_store(&self, db: &Db, service: &str) -> anyhow::Result<()> {
        let source = format!("/souk/{service}");
        let messages = match self.tail().await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "the store was not compared with the bus, which does not answer");
                return Ok(());
            }
        };
        let events = messages.into_iter().filter_map(|message| {
            let event: Event = serde_json::from_str(&message.payload).ok()?;
            let sequence = event.sequence.filter(|_| event.source == source && !event.replay)?;
            Some((message, event.time, sequence))
        });
        let published: Vec<(Message, Timestamp, i64)> = events.collect();
        let rows = published.iter().map(|(message, _, sequence)| {
            vec![message.topic.as_str().into(), message.key.as_str().into(), (*sequence).into()]
        });
        if published.is_empty() {
            return Ok(());
        }
        let mut tx = db.read().await?;
        let known = query(
            "select o.topic, o.key, o.sequence from {rows $1} r
             join outbox o on o.topic = r.value->>0 and o.key = r.value->>1 and o.sequence = cast(r.value->>2 as bigint)",
        )
        .rows(rows)
        .fetch_all(&mut tx)
        .await?
        .iter()
        .map(|row| Ok((row.get("topic")?, row.get("key")?, row.get("sequence")?)))
        .collect::<db::Result<std::collections::HashSet<(String, String, i64)>>>()?;
        // Read after them, since another replica may prune meanwhile. Clocks of replicas differ, and an event is older than its
        // publication.
        let pruned_before = upkeep::pruned_before(&mut tx, "outbox").await?.map(|before| before.plus(MARGIN));
        for (message, time, sequence) in published {
            let is_pruned = pruned_before.is_some_and(|before| time <= before);
            if !is_pruned && !known.contains(&(message.topic.clone(), message.key.clone(), sequence)) {
                let Message { topic, key: subject, .. } = message;
                return Err(StaleStore { service: service.to_owned(), topic, subject, sequence }.into());
            }
        }
        Ok(())
    }

    /// The last messages of each topic, if the broker has a log.
    async fn tail(&self) -> Result<Vec<Message>, Error> {
        let topics: Vec<String> = self.topology.topics.iter().map(|topic| (*topic).to_owned()).collect();
        match &*self.broker {
            Broker::Embedded(log) => Ok(log.tail(&topics).await?),
            Broker::Kafka(kafka) => {
                let found = kafka::tail(&kafka.settings, topics, TAIL).await?;
                Ok(found.into_iter().map(|found| found.message).collect())
            }
            Broker::Rabbit(_) | Broker::Dapr(_) => Ok(Vec::new()),
        }
    }
}

impl Embedded {
    async fn tail(&self, topics: &[String]) -> Result<Vec<Message>, db::Error> {
        let mut messages = Vec::new();
        let end = self.end().await?;
        for topic in topics {
            let offsets = [(topic.clone(), end - TAIL * 20)].into();
            messages.extend(self.read(&offsets, i64::MAX).await?.into_iter().map(|logged| logged.message));
        }
        Ok(messages)
    }
}
