//! The inbox: records which events have taken effect in this service, so that each takes effect once.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use commerce::Timestamp;
use db::{Db, Tx, insert, query};

use crate::Event;

/// The `event_id` of a row whose next event is in the dead letters.
const DEAD: &str = "dead letter";

/// Why events cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
    /// An earlier event of the aggregate has not taken effect.
    #[error(
        "event {sequence} of {subject} waits for event {expected}, which is in the dead letters or did not come; replay that one first"
    )]
    Ahead {
        /// The aggregate.
        subject: String,
        /// The number of the event.
        sequence: i64,
        /// The number of the event before it that is missing.
        expected: i64,
        /// Whether that one is in the dead letters. Otherwise it may be on its way.
        is_dead: bool,
    },
}

/// Records events in the transaction of their effect, and returns for each whether it is new. The events of an aggregate take effect
/// in their sequence, each once: one that was handled before is not new, and one that comes before an earlier event is refused. An
/// aggregate without a row may begin at any number, since rows and messages are pruned. An event without a sequence is new if its id
/// is, and so is a replayed one that others overtook ([`Event::overtaken`]).
///
/// Locks the subjects, so call it before anything else in the transaction: while a group's work moves from one replica to
/// another, both may have received the same event.
pub async fn fresh(tx: &mut Tx, events: &[Event]) -> Result<Vec<bool>, InboxError> {
    record(tx, events, |last, event, sequence| match last {
        Some(last) if sequence <= last.sequence => Ok(event.overtaken && !last.is_known_by_id),
        Some(last) if sequence > last.sequence + 1 && !event.skipmissing => {
            let (subject, expected) = (event.subject.clone(), last.sequence + 1);
            Err(InboxError::Ahead { subject, sequence, expected, is_dead: last.next_is_dead })
        }
        _ => Ok(true),
    })
    .await
}

/// The same for a service that only keeps the newest state of an aggregate, so that each event replaces all before it: one is new if
/// it is later than all that were handled, whatever is missing between them.
pub async fn newest(tx: &mut Tx, events: &[Event]) -> Result<Vec<bool>, InboxError> {
    record(tx, events, |last, _, sequence| Ok(last.is_none_or(|last| sequence > last.sequence))).await
}

/// The last event of an aggregate that took effect.
#[derive(Clone, Copy, Debug)]
struct Last {
    sequence: i64,
    /// Whether the next one is in the dead letters.
    next_is_dead: bool,
    /// Whether the overtaken event in question was replayed before.
    is_known_by_id: bool,
}

async fn record(
    tx: &mut Tx,
    events: &[Event],
    decide: impl Fn(Option<Last>, &Event, i64) -> Result<bool, InboxError>,
) -> Result<Vec<bool>, InboxError> {
    tx.lock(events.iter().map(|event| lock_name(inbox_key(event).0))).await?;
    let mut last = last_sequences(tx, events).await?;
    let mut changed: HashMap<(&str, &str), (i64, &str)> = HashMap::new();
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let (key, sequence) = inbox_key(event);
        let by_id = (event.topic.as_str(), event.id.as_str());
        let is_known_by_id = event.overtaken && last.contains_key(&owned(by_id));
        let before = last.get(&owned(key)).map(|last| Last { is_known_by_id, ..*last });
        let new = decide(before, event, sequence)?;
        fresh.push(new);
        if !new {
            continue;
        }
        let mut records = vec![(key, sequence)];
        if event.overtaken {
            records.push((by_id, 1));
        }
        for (key, sequence) in records {
            if last.get(&owned(key)).is_none_or(|last| sequence > last.sequence) {
                last.insert(owned(key), Last { sequence, next_is_dead: false, is_known_by_id: false });
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

/// Notes that an event is in the dead letters, so that later ones of its aggregate wait for it. An event that waits itself, or has
/// taken effect, changes nothing.
pub(crate) async fn note_dead_letter(db: &Db, event: &Event) -> Result<(), db::Error> {
    let Some(sequence) = event.sequence else { return Ok(()) };
    let mut tx = db.write().await?;
    tx.lock([lock_name((&event.topic, &event.subject))]).await?;
    query(
        "insert into inbox (topic, subject, sequence, event_id, at) values ($1, $2, $3, $4, $5)
         on conflict (topic, subject) do update set event_id = excluded.event_id
         where inbox.sequence = excluded.sequence",
    )
    .bind(event.topic.as_str())
    .bind(event.subject.as_str())
    .bind(sequence - 1)
    .bind(DEAD)
    .bind(Timestamp::now().micros())
    .execute(&mut tx)
    .await?;
    tx.commit().await
}

/// Topics are names of this program and contain no slash.
fn lock_name((topic, subject): (&str, &str)) -> String {
    format!("inbox/{topic}/{subject}")
}

/// The key and sequence under which an event is recorded; its id if it has no sequence.
fn inbox_key(event: &Event) -> ((&str, &str), i64) {
    match event.sequence {
        Some(sequence) => ((&event.topic, &event.subject), sequence),
        None => ((&event.topic, &event.id), 1),
    }
}

fn owned((topic, subject): (&str, &str)) -> (String, String) {
    (topic.to_owned(), subject.to_owned())
}

async fn last_sequences(tx: &mut Tx, events: &[Event]) -> Result<HashMap<(String, String), Last>, db::Error> {
    let mut subjects: HashSet<(&str, &str)> = events.iter().map(|event| inbox_key(event).0).collect();
    let overtaken = events.iter().filter(|event| event.overtaken);
    subjects.extend(overtaken.map(|event| (event.topic.as_str(), event.id.as_str())));
    // A join, so that every planner uses the primary key for each row, whatever its statistics say.
    query(
        "select i.topic, i.subject, i.sequence, i.event_id from {rows $1} r
         join inbox i on i.topic = r.value->>0 and i.subject = r.value->>1",
    )
    .rows(subjects.into_iter().map(|(topic, subject)| vec![topic.into(), subject.into()]))
    .fetch_all(tx)
    .await?
    .iter()
    .map(|row| {
        let next_is_dead = row.get::<String>("event_id")? == DEAD;
        let last = Last { sequence: row.get("sequence")?, next_is_dead, is_known_by_id: false };
        Ok(((row.get("topic")?, row.get("subject")?), last))
    })
    .collect()
}

/// Records a message that did not come over the bus, by the name of its channel and its id. Returns whether it is new: not
/// recorded before, or longer ago than `new_after`. Call it before anything else in the transaction.
pub async fn once(tx: &mut Tx, channel: &str, id: &str, new_after: Option<Duration>) -> Result<bool, db::Error> {
    tx.lock([lock_name((channel, id))]).await?;
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
    /// The last event of each aggregate that took effect, as `(topic, subject) -> sequence`, and when it did.
    pub last: HashMap<(String, String), (i64, Timestamp)>,
    /// Aggregates whose last event was handled before this time may have been pruned; `None` if none ever was.
    pub pruned_before: Option<Timestamp>,
}

/// Reads the whole inbox.
pub async fn dump(tx: &mut Tx) -> Result<InboxDump, db::Error> {
    let last = query("select topic, subject, sequence, at from inbox")
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| {
            let effect = (row.get("sequence")?, Timestamp::from_micros(row.get("at")?));
            Ok(((row.get("topic")?, row.get("subject")?), effect))
        })
        .collect::<Result<_, db::Error>>()?;
    Ok(InboxDump { last, pruned_before: upkeep::pruned_before(tx, "inbox").await? })
}

/// The number of the last event of an aggregate that took effect; 0 if none has. Locks it until the transaction ends.
pub async fn last_sequence(tx: &mut Tx, topic: &str, subject: &str) -> Result<i64, db::Error> {
    tx.lock([lock_name((topic, subject))]).await?;
    let row = query("select sequence from inbox where topic = $1 and subject = $2").bind(topic).bind(subject);
    row.fetch_optional(tx).await?.map_or(Ok(0), |row| row.get("sequence"))
}

/// The last event of an aggregate that took effect, and when.
pub async fn last_effect(tx: &mut Tx, topic: &str, subject: &str) -> Result<Option<(Timestamp, String)>, db::Error> {
    let row = query("select sequence, event_id, at from inbox where topic = $1 and subject = $2");
    let Some(row) = row.bind(topic).bind(subject).fetch_optional(tx).await? else { return Ok(None) };
    let sequence: i64 = row.get("sequence")?;
    let text = if row.get::<String>("event_id")? == DEAD {
        format!("event {} of {topic} is in the dead letters", sequence + 1)
    } else {
        format!("event {sequence} of {topic} took effect, as the last one")
    };
    Ok(Some((Timestamp::from_micros(row.get("at")?), text)))
}

/// Prunes aggregates whose last event was handled longer ago than `keep`. An older event that a broker delivers after that
/// counts as new, so `keep` must be longer than brokers keep messages. Those that wait for a dead letter stay.
pub fn prune(keep: Duration) -> upkeep::Prune {
    upkeep::Prune { table: "inbox", key: "topic, subject", old: "at < $1 and event_id <> 'dead letter'", keep }
}
