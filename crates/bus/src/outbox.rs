//! What a service has to tell, kept in its own store until the broker has it.

use commerce::Timestamp;
use db::{Result, Tx, insert, query};

use crate::{Event, NewEvent};

/// A message as a broker takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: String,
    /// Messages of one key keep their order.
    pub key: String,
    /// The text, usually a CloudEvent.
    pub payload: String,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) message: Outgoing,
}

/// Writes events in the transaction of what they tell of. After the commit, wake the relay.
pub async fn append(tx: &mut Tx, source: &str, events: Vec<NewEvent>) -> Result<()> {
    let now = Timestamp::now();
    let rows = events.into_iter().map(|new| {
        let (topic, sequence) = (new.topic, new.sequence);
        let event = Event::wrap(source, new, now);
        // An envelope of texts and numbers always serialises.
        let payload = serde_json::to_string(&event).unwrap_or_default();
        vec![topic.into(), event.subject.into(), sequence.into(), payload.into(), now.micros().into()]
    });
    insert("outbox", &["topic", "key", "sequence", "payload", "created_at"], rows).execute(tx).await?;
    Ok(())
}

/// The oldest messages that the broker does not have yet.
pub(crate) async fn unpublished(tx: &mut Tx, limit: i64) -> Result<Vec<Stored>> {
    query("select id, topic, key, payload from outbox where published_at is null order by id limit $1")
        .bind(limit)
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| {
            Ok(Stored {
                id: row.get("id")?,
                message: Outgoing { topic: row.get("topic")?, key: row.get("key")?, payload: row.get("payload")? },
            })
        })
        .collect()
}

/// Notes that the broker has these: each by its id, since one that is written later may have a lower one.
pub(crate) async fn mark_published(tx: &mut Tx, ids: &[i64]) -> Result<()> {
    query("update outbox set published_at = $1 where id in {list $2}")
        .bind(Timestamp::now().micros())
        .list(ids.iter().map(ToString::to_string))
        .execute(tx)
        .await?;
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

/// How many messages wait, and since when the oldest does.
pub async fn backlog(tx: &mut Tx) -> Result<(i64, Option<Timestamp>)> {
    let row = query("select count(*) as n, min(created_at) as oldest from outbox where published_at is null")
        .fetch_one(tx)
        .await?;
    Ok((row.get("n")?, row.get::<Option<i64>>("oldest")?.map(Timestamp::from_micros)))
}

/// A message of the outbox as an auditor sees it.
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

/// All messages that are kept, in their order.
pub async fn all(tx: &mut Tx) -> Result<Vec<Told>> {
    query("select topic, key, sequence, created_at, published_at, payload from outbox order by id")
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
        .collect()
}
