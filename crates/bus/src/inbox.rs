//! The inbox: records which events have taken effect in this service, so that each takes effect once.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use commerce::Timestamp;
use db::{Result, Tx, insert, query};

use crate::Event;

/// Records events in the transaction of their effect, and returns for each whether it is new: later in the sequence of its
/// aggregate than all before. An event without a sequence, or a replayed one, is new if its id is.
///
/// Locks the subjects, so call it before anything else in the transaction: while a group's work moves from one replica to
/// another, both may have received the same event.
pub async fn fresh(tx: &mut Tx, events: &[Event]) -> Result<Vec<bool>> {
    tx.lock(subjects(events).map(|(topic, subject)| format!("inbox/{topic}/{subject}"))).await?;
    let mut last = last_sequences(tx, events).await?;
    let mut changed: HashMap<(&str, &str), (i64, &str)> = HashMap::new();
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let (key, sequence) = inbox_key(event);
        let new = is_later(&last, key, sequence);
        fresh.push(new);
        if !new {
            continue;
        }
        let mut records = vec![(key, sequence)];
        if let (true, Some(sequence)) = (event.replay, event.sequence) {
            // The original event may be delivered again, too.
            records.push(((&event.topic, &event.subject), sequence));
        }
        for (key, sequence) in records {
            if is_later(&last, key, sequence) {
                last.insert((key.0.to_owned(), key.1.to_owned()), sequence);
                changed.insert(key, (sequence, event.id.as_str()));
            }
        }
    }
    let now = Timestamp::now().micros();
    let rows = changed.into_iter().map(|((topic, subject), (sequence, id))| {
        vec![topic.into(), subject.into(), sequence.into(), id.into(), now.into()]
    });
    insert("inbox", &["topic", "subject", "sequence", "event_id", "at"], rows)
        .suffix(
            "on conflict (topic, subject) do update set
               sequence = excluded.sequence, event_id = excluded.event_id, at = excluded.at",
        )
        .execute(tx)
        .await?;
    Ok(fresh)
}

fn is_later(last: &HashMap<(String, String), i64>, key: (&str, &str), sequence: i64) -> bool {
    last.get(&(key.0.to_owned(), key.1.to_owned())).is_none_or(|before| sequence > *before)
}

/// The key and sequence under which an event is recorded. When a dead letter is replayed, later events of its aggregate may
/// have been handled, so it is recorded by its id.
fn inbox_key(event: &Event) -> ((&str, &str), i64) {
    match event.sequence {
        Some(sequence) if !event.replay => ((&event.topic, &event.subject), sequence),
        _ => ((&event.topic, &event.id), 1),
    }
}

/// Every key under which the events are or may be recorded.
fn subjects(events: &[Event]) -> impl Iterator<Item = (&str, &str)> {
    events.iter().flat_map(|event| [inbox_key(event).0, (&event.topic, &event.subject)])
}

async fn last_sequences(tx: &mut Tx, events: &[Event]) -> Result<HashMap<(String, String), i64>> {
    let subjects: HashSet<(&str, &str)> = subjects(events).collect();
    // A join, so that every planner uses the primary key for each row, whatever its statistics say.
    query(
        "select i.topic, i.subject, i.sequence from {rows $1} r
         join inbox i on i.topic = r.value->>0 and i.subject = r.value->>1",
    )
    .rows(subjects.into_iter().map(|(topic, subject)| vec![topic.into(), subject.into()]))
    .fetch_all(tx)
    .await?
    .iter()
    .map(|row| Ok(((row.get("topic")?, row.get("subject")?), row.get("sequence")?)))
    .collect()
}

/// Records a message that did not come over the bus, by the name of its channel and its id. Returns whether it is new: not
/// recorded before, or longer ago than `new_after`. Call it before anything else in the transaction.
pub async fn once(tx: &mut Tx, channel: &str, id: &str, new_after: Option<Duration>) -> Result<bool> {
    tx.lock([format!("inbox/{channel}/{id}")]).await?;
    let now = Timestamp::now();
    let expired_before = new_after.map_or(i64::MIN, |age| now.minus(age).micros());
    let written = query(
        "insert into inbox (topic, subject, sequence, event_id, at) values ($1, $2, 1, $2, $3)
         on conflict (topic, subject) do update set at = excluded.at where inbox.at < $4",
    )
    .bind(channel)
    .bind(id)
    .bind(now.micros())
    .bind(expired_before)
    .execute(tx)
    .await?;
    Ok(written > 0)
}

/// The contents of an inbox, for the audit.
#[derive(Debug, Clone, Default)]
pub struct InboxDump {
    /// The last event of each aggregate that took effect, as `(topic, subject) -> sequence`.
    pub last: HashMap<(String, String), i64>,
    /// Aggregates whose last event was handled before this time may have been pruned; `None` if none ever was.
    pub pruned_before: Option<Timestamp>,
}

/// Reads the whole inbox.
pub async fn dump(tx: &mut Tx) -> Result<InboxDump> {
    let last = query("select topic, subject, sequence from inbox")
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok(((row.get("topic")?, row.get("subject")?), row.get("sequence")?)))
        .collect::<Result<_>>()?;
    Ok(InboxDump { last, pruned_before: upkeep::pruned_before(tx, "inbox").await? })
}

/// Prunes aggregates whose last event was handled longer ago than `keep`. An older event that a broker delivers after that
/// counts as new, so `keep` must be longer than brokers keep messages.
pub fn prune(keep: Duration) -> upkeep::Prune {
    upkeep::Prune { table: "inbox", key: "topic, subject", old: "at < $1", keep }
}
