//! Which events have taken effect here already.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use commerce::Timestamp;
use db::{Result, Tx, insert, query};

use crate::Event;

/// Records events in the transaction of their effect, and says of each whether it is new here: later in
/// its aggregate's sequence than any before. An event without a sequence, or a replayed one, is new once by its id.
///
/// It takes the subjects' locks, so call it before anything else in the transaction: while a group's work goes
/// from one replica to another both may hold the same event.
pub async fn fresh(tx: &mut Tx, events: &[Event]) -> Result<Vec<bool>> {
    tx.lock(subjects(events).map(|(topic, subject)| format!("inbox/{topic}/{subject}"))).await?;
    let mut last = known(tx, events).await?;
    let mut changed: HashMap<(&str, &str), (i64, &str)> = HashMap::new();
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let (key, sequence) = place(event);
        let new = is_later(&last, key, sequence);
        fresh.push(new);
        if !new {
            continue;
        }
        let mut places = vec![(key, sequence)];
        if let (true, Some(sequence)) = (event.replay, event.sequence) {
            // The original may come once more, as anything may.
            places.push(((&event.topic, &event.subject), sequence));
        }
        for (key, sequence) in places {
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

/// Under which key and number an event is remembered. A dead letter that is replayed comes when later events of its
/// aggregate may have been taken, so it goes by its id.
fn place(event: &Event) -> ((&str, &str), i64) {
    match event.sequence {
        Some(sequence) if !event.replay => ((&event.topic, &event.subject), sequence),
        _ => ((&event.topic, &event.id), 1),
    }
}

/// Every subject under which the events are or may be remembered.
fn subjects(events: &[Event]) -> impl Iterator<Item = (&str, &str)> {
    events.iter().flat_map(|event| [place(event).0, (&event.topic, &event.subject)])
}

async fn known(tx: &mut Tx, events: &[Event]) -> Result<HashMap<(String, String), i64>> {
    let subjects: HashSet<(&str, &str)> = subjects(events).collect();
    // Joined, and not by two lists: whatever the planner knows of the table, it looks each up by the primary key.
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

/// Records what came by another way than the bus, under a name of that way, and says whether it is new: not there
/// before, or longer ago than `again` says. Call it before anything else in the transaction.
pub async fn once(tx: &mut Tx, way: &str, id: &str, again: Option<Duration>) -> Result<bool> {
    tx.lock([format!("inbox/{way}/{id}")]).await?;
    let now = Timestamp::now();
    let forgotten = again.map_or(i64::MIN, |again| now.minus(again).micros());
    let written = query(
        "insert into inbox (topic, subject, sequence, event_id, at) values ($1, $2, 1, $2, $3)
         on conflict (topic, subject) do update set at = excluded.at where inbox.at < $4",
    )
    .bind(way)
    .bind(id)
    .bind(now.micros())
    .bind(forgotten)
    .execute(tx)
    .await?;
    Ok(written > 0)
}

/// What an inbox says to an auditor.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The last event of each aggregate that took effect: `(topic, subject) -> sequence`.
    pub last: HashMap<(String, String), i64>,
    /// Aggregates that were last heard of before then may have been forgotten; none if none ever was.
    pub pruned_before: Option<Timestamp>,
}

/// Everything that took effect.
pub async fn heard(tx: &mut Tx) -> Result<Heard> {
    let last = query("select topic, subject, sequence from inbox")
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok(((row.get("topic")?, row.get("subject")?), row.get("sequence")?)))
        .collect::<Result<_>>()?;
    Ok(Heard { last, pruned_before: upkeep::pruned_before(tx, "inbox").await? })
}

/// Forgets aggregates of which nothing was heard for so long. What a broker still delivers after that would be
/// taken as new, so it must be longer than brokers keep messages.
pub fn prune(keep: Duration) -> upkeep::Prune {
    upkeep::Prune { table: "inbox", key: "topic, subject", old: "at < $1", keep }
}
