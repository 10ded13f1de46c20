//! The outbox: messages in a service's own store, until the broker has them.

use std::{sync::Arc, time::Duration};

use commerce::Timestamp;
use db::{Db, Result, Tx, insert, query};
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use upkeep::{Leases, Prune, SqlLeases};

use crate::{Event, NewEvent};

/// A message as a broker stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic that it is published to.
    pub topic: String,
    /// The key; messages of one key keep their order.
    pub key: String,
    /// The text, usually a CloudEvent.
    pub payload: String,
}

/// Number of shards that the relays of a service's replicas divide among them.
pub const SHARDS: i64 = 8;

/// The shard of a key's messages.
pub fn shard(key: &str) -> i64 {
    // FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every replica and version.
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash) % SHARDS
}

/// A message that is not published yet.
#[derive(Debug, Clone)]
pub struct PendingMessage {
    /// Its id in the store.
    pub id: String,
    /// The message to publish.
    pub message: Message,
}

/// The outbox of a store, as the [`crate::Relay`] uses it.
pub trait Outbox: Send + Sync + 'static {
    /// The leases by which replicas divide the shards.
    fn leases(&self) -> Arc<dyn Leases>;
    /// Unpublished messages of these shards, oldest first, those of one key in their order.
    fn pending<'a>(&'a self, shards: &'a [i64], limit: i64) -> BoxFuture<'a, anyhow::Result<Vec<PendingMessage>>>;
    /// Marks messages as published.
    fn mark_published<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, anyhow::Result<()>>;
    /// The number of unpublished messages, and the time of the oldest one.
    fn backlog(&self) -> BoxFuture<'_, anyhow::Result<(i64, Option<Timestamp>)>>;
    /// Notifies the relays of other replicas of new messages. Only a hint: they also poll.
    fn notify(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    /// Waits for a notification; for ever if the store has none.
    fn listen(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// The channel of notifications between the relays of one store.
const CHANNEL: &str = "souk_outbox";

/// The outbox in SQL.
#[derive(Debug)]
pub struct SqlOutbox {
    db: Db,
    listener: Mutex<Option<db::Listener>>,
}

impl SqlOutbox {
    /// The outbox in this database.
    pub fn new(db: Db) -> Self {
        Self { db, listener: Mutex::new(None) }
    }

    async fn wait_for_notification(&self) -> Result<()> {
        let mut slot = self.listener.lock().await;
        if slot.is_none() {
            *slot = self.db.listen(CHANNEL).await?;
        }
        let Some(listener) = slot.as_mut() else { std::future::pending().await };
        let notified = listener.notified().await;
        if notified.is_err() {
            *slot = None;
        }
        notified
    }
}

impl Outbox for SqlOutbox {
    fn leases(&self) -> Arc<dyn Leases> {
        Arc::new(SqlLeases(self.db.clone()))
    }

    fn pending<'a>(&'a self, shards: &'a [i64], limit: i64) -> BoxFuture<'a, anyhow::Result<Vec<PendingMessage>>> {
        Box::pin(async move {
            let mut tx = self.db.read().await?;
            let rows = query(
                "select id, topic, key, payload from outbox
                 where published_at is null and shard in {ints $1} order by id limit $2",
            )
            .ints(shards.iter().copied())
            .bind(limit)
            .fetch_all(&mut tx)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(PendingMessage {
                        id: row.get::<i64>("id")?.to_string(),
                        message: Message {
                            topic: row.get("topic")?,
                            key: row.get("key")?,
                            payload: row.get("payload")?,
                        },
                    })
                })
                .collect()
        })
    }

    fn mark_published<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let mut tx = self.db.write().await?;
            // By ids, not up to the highest id: a transaction that commits later may have lower ids.
            query("update outbox set published_at = $1 where id in {ints $2}")
                .bind(Timestamp::now().micros())
                .ints(ids.iter().filter_map(|id| id.parse().ok()))
                .execute(&mut tx)
                .await?;
            tx.commit().await?;
            Ok(())
        })
    }

    fn backlog(&self) -> BoxFuture<'_, anyhow::Result<(i64, Option<Timestamp>)>> {
        Box::pin(async move {
            let mut tx = self.db.read().await?;
            let row = query("select count(*) as n, min(created_at) as oldest from outbox where published_at is null")
                .fetch_one(&mut tx)
                .await?;
            Ok((row.get("n")?, row.get::<Option<i64>>("oldest")?.map(Timestamp::from_micros)))
        })
    }

    fn notify(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move { Ok(self.db.notify(CHANNEL).await?) })
    }

    fn listen(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.wait_for_notification().await.is_err() {
                // Meanwhile the relay polls.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        })
    }
}

/// Prunes messages that were published longer ago than `keep`.
pub fn prune(keep: Duration) -> Prune {
    Prune { table: "outbox", key: "id", old: "published_at < $1", keep }
}

const COLUMNS: &[&str] = &["topic", "key", "sequence", "payload", "created_at", "shard"];

/// Writes events in the transaction of their change. After the commit, wake the relay.
pub async fn append(tx: &mut Tx, source: &str, events: Vec<NewEvent>) -> Result<()> {
    let now = Timestamp::now();
    let rows = events.into_iter().map(|new| {
        let (topic, sequence) = (new.topic, new.sequence);
        let event = Event::wrap(source, new, now);
        // An envelope of texts and numbers always serialises.
        let payload = serde_json::to_string(&event).unwrap_or_default();
        let shard = shard(&event.subject);
        vec![topic.into(), event.subject.into(), sequence.into(), payload.into(), now.micros().into(), shard.into()]
    });
    insert("outbox", COLUMNS, rows).execute(tx).await?;
    Ok(())
}

/// Writes messages that are not CloudEvents, for consumers of plain JSON, in the transaction of their change. They have no
/// sequence (the column is 0) and are not part of the dump.
pub async fn append_plain(tx: &mut Tx, messages: Vec<Message>) -> Result<()> {
    let now = Timestamp::now().micros();
    let rows = messages.into_iter().map(|Message { topic, key, payload }| {
        let shard = shard(&key);
        vec![topic.into(), key.into(), 0.into(), payload.into(), now.into(), shard.into()]
    });
    insert("outbox", COLUMNS, rows).execute(tx).await?;
    Ok(())
}

/// Replaces the payload of all events of one aggregate, published or not, as when personal data is erased. Unpublished
/// events are published without the old payload.
pub async fn redact(tx: &mut Tx, topic: &str, key: &str, data: &serde_json::Value) -> Result<()> {
    let rows = query("select id, payload from outbox where topic = $1 and key = $2")
        .bind(topic)
        .bind(key)
        .fetch_all(tx)
        .await?;
    for row in rows {
        let payload: String = row.get("payload")?;
        let Ok(mut envelope) = serde_json::from_str::<serde_json::Value>(&payload) else { continue };
        envelope["data"] = data.clone();
        query("update outbox set payload = $1 where id = $2")
            .bind(envelope.to_string())
            .bind(row.get::<i64>("id")?)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// The events about one aggregate, each at the times when it was written and published.
pub async fn history(tx: &mut Tx, topic: &str, key: &str) -> Result<Vec<(Timestamp, String)>> {
    let rows = query(
        "select sequence, payload, created_at, published_at from outbox where topic = $1 and key = $2 and sequence > 0 order by id",
    )
    .bind(topic)
    .bind(key)
    .fetch_all(tx)
    .await?;
    let mut history = Vec::with_capacity(2 * rows.len());
    for row in rows {
        let kind = serde_json::from_str::<Event>(&row.get::<String>("payload")?).map(|event| event.kind);
        let event = format!("event {} ({})", row.get::<i64>("sequence")?, kind.as_deref().unwrap_or("unreadable"));
        history.push((Timestamp::from_micros(row.get("created_at")?), format!("{event} written")));
        if let Some(at) = row.get::<Option<i64>>("published_at")? {
            history.push((Timestamp::from_micros(at), format!("{event} published")));
        }
    }
    Ok(history)
}

/// The contents of an outbox, for the audit.
#[derive(Debug, Clone, Default)]
pub struct OutboxDump {
    /// The stored events, those of one aggregate in their order.
    pub events: Vec<OutboxEvent>,
    /// Published events from before this time may have been pruned; `None` if none ever was.
    pub pruned_before: Option<Timestamp>,
}

/// An event of the outbox, for the audit.
#[derive(Debug, Clone)]
pub struct OutboxEvent {
    /// The topic that it is published to.
    pub topic: String,
    /// Id of the aggregate.
    pub subject: String,
    /// The number of the event among those of its aggregate, from 1 on.
    pub sequence: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Whether it was published.
    pub published: bool,
    /// The serialised event.
    pub payload: String,
}

/// Reads all stored events, in their order.
pub async fn dump(tx: &mut Tx) -> Result<OutboxDump> {
    let text =
        "select topic, key, sequence, created_at, published_at, payload from outbox where sequence > 0 order by id";
    let events = query(text)
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| {
            Ok(OutboxEvent {
                topic: row.get("topic")?,
                subject: row.get("key")?,
                sequence: row.get("sequence")?,
                created_at: Timestamp::from_micros(row.get("created_at")?),
                published: row.get::<Option<i64>>("published_at")?.is_some(),
                payload: row.get("payload")?,
            })
        })
        .collect::<Result<_>>()?;
    // Read after the events, so that events pruned in between count as pruned.
    Ok(OutboxDump { events, pruned_before: upkeep::pruned_before(tx, "outbox").await? })
}
