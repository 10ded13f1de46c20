//! Which events have taken effect here already.

use std::collections::HashMap;

use commerce::Timestamp;
use db::{Result, Tx, insert, query};

use crate::Event;

/// Records events in the transaction of their effect, and says of each whether it is new here: later in
/// its aggregate's sequence than any before. An event without a sequence is new once by its id.
pub async fn fresh(tx: &mut Tx, events: &[Event]) -> Result<Vec<bool>> {
    let mut last = known(tx, events).await?;
    let mut changed: HashMap<(&str, &str), &Event> = HashMap::new();
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let (key, sequence) = place(event);
        let before = last.get(&(key.0.to_owned(), key.1.to_owned())).copied();
        let new = before.is_none_or(|before| sequence > before);
        if new {
            last.insert((key.0.to_owned(), key.1.to_owned()), sequence);
            changed.insert(key, event);
        }
        fresh.push(new);
    }
    let now = Timestamp::now().micros();
    let rows = changed.into_iter().map(|((topic, subject), event)| {
        let (_, sequence) = place(event);
        vec![topic.into(), subject.into(), sequence.into(), event.id.as_str().into(), now.into()]
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

/// Under which key and number an event is remembered.
fn place(event: &Event) -> ((&str, &str), i64) {
    match event.sequence {
        Some(sequence) => ((&event.topic, &event.subject), sequence),
        None => ((&event.topic, &event.id), 1),
    }
}

async fn known(tx: &mut Tx, events: &[Event]) -> Result<HashMap<(String, String), i64>> {
    let subjects = events.iter().map(|event| place(event).0.1);
    query("select topic, subject, sequence from inbox where topic in {list $1} and subject in {list $2}")
        .list(events.iter().map(|event| event.topic.as_str()).collect::<std::collections::HashSet<_>>())
        .list(subjects)
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok(((row.get("topic")?, row.get("subject")?), row.get("sequence")?)))
        .collect()
}

/// The last event of each aggregate that took effect: `(topic, subject) -> sequence`.
pub async fn all(tx: &mut Tx) -> Result<HashMap<(String, String), i64>> {
    query("select topic, subject, sequence from inbox")
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok(((row.get("topic")?, row.get("subject")?), row.get("sequence")?)))
        .collect()
}
