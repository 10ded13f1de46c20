//! What a service has to tell, kept in its own store until the broker has it.

use std::{sync::Arc, time::Duration};

use commerce::Timestamp;
use db::{Db, Result, Tx, insert, query};
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use upkeep::{Leases, Prune, SqlLeases};

use crate::{Event, NewEvent};

/// A message as a broker takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: String,
    /// Messages of one key keep their order.
    pub key: String,
    /// The text, usually a CloudEvent.
    pub payload: String,
}

/// In how many parts the relays of several replicas share a service's messages.
pub const SHARDS: i64 = 8;

/// The part that a key's messages are in.
pub fn shard(key: &str) -> i64 {
    // FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every replica and version.
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash) % SHARDS
}

/// A message that waits for the broker.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Names it in its store.
    pub id: String,
    /// What is to be published.
    pub message: Message,
}

/// Where a service keeps what it has to tell, as the [`crate::Relay`] sees it.
pub trait Outbox: Send + Sync + 'static {
    /// By which replicas share its shards.
    fn leases(&self) -> Arc<dyn Leases>;
    /// Messages of these shards that the broker does not have yet, oldest first, those of one key in their order.
    fn waiting<'a>(&'a self, shards: &'a [i64], limit: i64) -> BoxFuture<'a, anyhow::Result<Vec<Waiting>>>;
    /// Notes that the broker has these.
    fn mark<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, anyhow::Result<()>>;
    /// How many messages wait, and since when the oldest does.
    fn backlog(&self) -> BoxFuture<'_, anyhow::Result<(i64, Option<Timestamp>)>>;
    /// Tells the relays of other replicas that something waits. A hint: they look now and then anyway.
    fn notify(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    /// Waits for such a hint; for ever, where the store cannot give one.
    fn listen(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// What relays of one store call to each other by.
const CHANNEL: &str = "souk_outbox";

/// The outbox in SQL.
#[derive(Debug)]
pub struct SqlOutbox {
    db: Db,
    listener: Mutex<Option<db::Listener>>,
}

impl SqlOutbox {
    /// That of this database.
    pub fn new(db: Db) -> Self {
        Self { db, listener: Mutex::new(None) }
    }

    async fn wait_for_notification(&self) -> Result<()> {
        let mut slot = self.listener.lock().await;
        if slot.is_none() {
            *slot = self.db.listen(CHANNEL).await?;
        }
        let Some(listener) = slot.as_mut() else { std::future::pending().await };
        let heard = listener.heard().await;
        if heard.is_err() {
            *slot = None;
        }
        heard
    }
}

impl Outbox for SqlOutbox {
    fn leases(&self) -> Arc<dyn Leases> {
        Arc::new(SqlLeases(self.db.clone()))
    }

    fn waiting<'a>(&'a self, shards: &'a [i64], limit: i64) -> BoxFuture<'a, anyhow::Result<Vec<Waiting>>> {
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
                    Ok(Waiting {
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

    fn mark<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let mut tx = self.db.write().await?;
            // Each by its id, since one that is written later may have a lower one.
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
                // The net of looking now and then holds meanwhile.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        })
    }
}

/// Forgets what the broker has had for so long.
pub fn prune(keep: Duration) -> Prune {
    Prune { table: "outbox", key: "id", old: "published_at < $1", keep }
}

const COLUMNS: &[&str] = &["topic", "key", "sequence", "payload", "created_at", "shard"];

/// Writes events in the transaction of what they tell of. After the commit, wake the relay.
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

/// Writes messages that are no events, for listeners that read plain JSON, in the transaction of what they tell of. They
/// count in no sequence (theirs is 0) and the auditor is not told of them.
pub async fn append_plain(tx: &mut Tx, messages: Vec<Message>) -> Result<()> {
    let now = Timestamp::now().micros();
    let rows = messages.into_iter().map(|Message { topic, key, payload }| {
        let shard = shard(&key);
        vec![topic.into(), key.into(), 0.into(), payload.into(), now.into(), shard.into()]
    });
    insert("outbox", COLUMNS, rows).execute(tx).await?;
    Ok(())
}

/// Replaces the payload of everything that was or is still to be told of one aggregate, as when a person's
/// data is to go: what is still unpublished will be published without it.
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

/// What an outbox says to an auditor.
#[derive(Debug, Clone, Default)]
pub struct OutboxDump {
    /// The events that are kept, those of one aggregate in their order.
    pub events: Vec<Told>,
    /// Before when published events may have been forgotten; none if none ever was.
    pub pruned_before: Option<Timestamp>,
}

/// An event of the outbox as an auditor sees it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Where to.
    pub topic: String,
    /// The aggregate.
    pub subject: String,
    /// Counts its events.
    pub sequence: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Whether the broker has it.
    pub published: bool,
    /// The message.
    pub payload: String,
}

/// All events that are kept, in their order.
pub async fn telling(tx: &mut Tx) -> Result<OutboxDump> {
    let text =
        "select topic, key, sequence, created_at, published_at, payload from outbox where sequence > 0 order by id";
    let events = query(text)
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| {
            Ok(Told {
                topic: row.get("topic")?,
                subject: row.get("key")?,
                sequence: row.get("sequence")?,
                created_at: Timestamp::from_micros(row.get("created_at")?),
                published: row.get::<Option<i64>>("published_at")?.is_some(),
                payload: row.get("payload")?,
            })
        })
        .collect::<Result<_>>()?;
    // Read after them: what is forgotten in between is counted as such.
    Ok(OutboxDump { events, pruned_before: upkeep::pruned_before(tx, "outbox").await? })
}
