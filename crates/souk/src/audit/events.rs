//! The events published match the state changes, in order, without gaps.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{Check, facts::Facts};

/// What is read of an envelope.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    sequence: Option<i64>,
}

pub(crate) fn all(facts: &Facts) -> Vec<Check> {
    vec![
        every_change_is_told(facts),
        what_is_told_is_published(facts),
        notifications_follow(facts),
        order_events_match_states(facts),
    ]
}

type Aggregate<'a> = (&'a str, &'a str);

/// Each aggregate's events count from 1 to its last, in the order they were written.
fn every_change_is_told(facts: &Facts) -> Check {
    let mut check = Check::new("every change is told by one event, in order, without gaps");
    let mut told: HashMap<Aggregate<'_>, Vec<i64>> = HashMap::new();
    for event in facts.told.values().flatten() {
        told.entry((&event.topic, &event.subject)).or_default().push(event.sequence);
    }
    for ((topic, subject), last) in &facts.sequences {
        let sequences = told.remove(&(topic.as_str(), subject.as_str())).unwrap_or_default();
        let complete = sequences.iter().copied().eq(1..=*last);
        check.saw((!complete).then(|| format!("{topic} {subject}: {last} changes, events {sequences:?}")));
    }
    for ((topic, subject), sequences) in told {
        check.fail(Some(format!("{topic} {subject}: events {sequences:?} of something that is not there")));
    }
    check
}

/// What a service gave to the bus is there, in its order; a repeat is allowed, a gap is not.
fn what_is_told_is_published(facts: &Facts) -> Check {
    let mut check = Check::new("events are on the bus in order, without gaps");
    let mut published: BTreeMap<Aggregate<'_>, i64> = BTreeMap::new();
    for (topic, key, payload) in &facts.log {
        let Ok(Envelope { sequence: Some(sequence), .. }) = serde_json::from_str(payload) else { continue };
        let last = published.entry((topic, key)).or_default();
        check
            .fail((sequence > *last + 1).then(|| format!("{topic} {key}: event {sequence} follows {last} on the bus")));
        *last = sequence.max(*last);
    }
    for event in facts.told.values().flatten() {
        if !event.published {
            check.pending += 1;
            let stuck = facts.running && !facts.is_young(event.created_at);
            check.fail(stuck.then(|| {
                format!("{} {}: event {} still waits in the outbox", event.topic, event.subject, event.sequence)
            }));
            continue;
        }
        let last = published.get(&(event.topic.as_str(), event.subject.as_str())).copied().unwrap_or(0);
        check.saw(
            (last < event.sequence)
                .then(|| format!("{} {}: event {} is not on the bus", event.topic, event.subject, event.sequence)),
        );
    }
    check
}

/// Topics that the notification service listens to.
const HEARD: [&str; 4] = ["orders", "stock", "payments", "customers"];

/// The notification service has heard each aggregate's last event, or will, and none that was never told.
fn notifications_follow(facts: &Facts) -> Check {
    let mut check = Check::new("notifications have heard every event once told");
    for ((topic, subject), last) in &facts.sequences {
        if *last == 0 || !HEARD.contains(&topic.as_str()) {
            continue;
        }
        let heard = facts.notification_heard.get(&(topic.clone(), subject.clone())).copied().unwrap_or(0);
        check.pending += usize::from(heard < *last);
        check.saw((heard > *last).then(|| format!("{topic} {subject}: heard event {heard}, the last one is {last}")));
    }
    check
}

/// An order is told as placed first, as confirmed if it was, and as cancelled last if it is.
fn order_events_match_states(facts: &Facts) -> Check {
    let mut check = Check::new("order events match the orders' states");
    let mut kinds: HashMap<&str, Vec<String>> = HashMap::new();
    for event in facts.told.get("order").into_iter().flatten() {
        if let Ok(envelope) = serde_json::from_str::<Envelope>(&event.payload) {
            kinds.entry(&event.subject).or_default().push(envelope.kind);
        }
    }
    for order in facts.orders.values() {
        let kinds = kinds.remove(order.id.as_str()).unwrap_or_default();
        let count = |kind: &str| kinds.iter().filter(|told| *told == kind).count();
        let placed = kinds.first().is_some_and(|kind| kind == "souk.order.placed") && count("souk.order.placed") == 1;
        let confirmed = count("souk.order.confirmed") == usize::from(order.was_confirmed);
        let cancelled = count("souk.order.cancelled") == usize::from(order.status == "cancelled");
        let right = placed && confirmed && cancelled;
        check.saw((!right).then(|| format!("order {} is {}, its events are {kinds:?}", order.id, order.status)));
    }
    check
}
