//! The events published match the state changes, in order, without gaps.

use std::collections::{BTreeMap, HashMap, HashSet};

use bus::outbox::OutboxEvent;
use commerce::Timestamp;
use notification::notification_of;
use serde::Deserialize;

use super::{
    Check,
    facts::{Facts, forgotten},
};

/// What is read of an envelope.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    source: Option<String>,
    sequence: Option<i64>,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default)]
    replay: bool,
    #[serde(default)]
    skipmissing: bool,
}

impl Envelope {
    /// Whether another program published it, whose sequence numbers may be anything.
    fn is_foreign(&self) -> bool {
        self.source.as_ref().is_some_and(|source| !source.starts_with("/souk/"))
    }
}

pub(crate) fn all(facts: &Facts) -> Vec<Check> {
    vec![
        every_change_has_one_event(facts),
        published_events_are_on_the_bus(facts),
        notifications_follow(facts),
        order_events_match_states(facts),
        prospects_have_activities(facts),
        dead_letters_are_replayed(facts),
        consumers_are_not_ahead(facts),
        handled_events_took_effect(facts),
        notifications_are_of_their_events(facts),
        only_old_rows_were_deleted(facts),
    ]
}

type Subject<'a> = (&'a str, &'a str);

/// Each aggregate's events count from 1 to its last, in the order they were written. Of those that were forgotten the
/// others must go on where they ended.
fn every_change_has_one_event(facts: &Facts) -> Check {
    let mut check = Check::new("every change is published by one event, in order, without gaps");
    let mut by_subject: HashMap<Subject<'_>, Vec<&OutboxEvent>> = HashMap::new();
    for event in facts.outboxes.values().flat_map(|outbox| &outbox.events) {
        by_subject.entry((&event.topic, &event.subject)).or_default().push(event);
    }
    for ((topic, subject), aggregate) in &facts.aggregates {
        let events = by_subject.remove(&(topic.as_str(), subject.as_str())).unwrap_or_default();
        if is_moving(facts, &events) {
            check.pending += 1;
            continue;
        }
        let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
        let missing = missing(aggregate.last, sequences.len());
        let contiguous = sequences.iter().copied().eq(missing + 1..=aggregate.last);
        let complete = contiguous && facts.may_lack(topic, *aggregate, missing);
        check.saw((!complete).then(|| format!("{topic} {subject}: {} changes, events {sequences:?}", aggregate.last)));
    }
    for ((topic, subject), events) in by_subject {
        // A reservation that was released is forgotten after a while; its place would be in its subject if it were a level.
        let released = topic == "stock" && !subject.contains('/');
        let last = events.iter().map(|event| event.created_at).max();
        let gone = released && forgotten(facts.released_before, last);
        if !gone && !is_moving(facts, &events) {
            let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
            check.fail(Some(format!("{topic} {subject}: events {sequences:?} of an aggregate that does not exist")));
        }
    }
    check
}

/// Whether an event was published while the facts were read: not every store offers a snapshot.
fn is_moving(facts: &Facts, events: &[&OutboxEvent]) -> bool {
    facts.running && events.iter().any(|event| event.created_at >= facts.now)
}

/// The number of missing events, of the total.
fn missing(last: i64, kept: usize) -> i64 {
    (last - i64::try_from(kept).unwrap_or(i64::MAX)).max(0)
}

/// Topics whose events stay as they were published: they have no personal data.
const COMPARED: [&str; 4] = ["orders", "payments", "stock", "products"];

/// What a service published is on the bus, in its order, unless the bus has deleted events of that age; a repeat is
/// allowed, a gap is not.
fn published_events_are_on_the_bus(facts: &Facts) -> Check {
    let mut check = Check::new("events are on the bus in order, without gaps");
    let Some(log) = &facts.log else {
        return check.left_out("this broker keeps no log");
    };
    // The first and the last of each.
    let mut published: BTreeMap<Subject<'_>, (i64, i64)> = BTreeMap::new();
    let mut payloads: BTreeMap<(&str, &str, i64), &String> = BTreeMap::new();
    for message in &log.messages {
        // A dead letter that was brought back may be older than what stands around it.
        let Ok(envelope) = serde_json::from_str::<Envelope>(&message.payload) else { continue };
        let (Some(sequence), false) = (envelope.sequence, envelope.replay || envelope.is_foreign()) else { continue };
        let (topic, key) = (message.topic.as_str(), message.key.as_str());
        // Where events are kept with what they are about, as in documents, both are gone together.
        let is_known = topic == "stock" || facts.aggregates.contains_key(&(topic.to_owned(), key.to_owned()));
        let is_new = envelope.time.is_some_and(|time| facts.is_young(time));
        check.fail(
            (!is_known && !is_new).then(|| format!("{topic} {key}: event {sequence} is of nothing that there is")),
        );
        let first = *payloads.entry((topic, key, sequence)).or_insert(&message.payload);
        let differs = COMPARED.contains(&topic) && !repeats(&message.payload, first);
        check.fail(differs.then(|| format!("{topic} {key}: event {sequence} is on the bus twice, and differs")));
        let begins = if log.whole_since.contains_key(topic) { sequence } else { 1 };
        let (_, last) = published.entry((topic, key)).or_insert((begins, begins - 1));
        check
            .fail((sequence > *last + 1).then(|| format!("{topic} {key}: event {sequence} follows {last} on the bus")));
        *last = sequence.max(*last);
    }
    for event in facts.outboxes.values().flat_map(|outbox| &outbox.events) {
        if !event.published {
            check.pending += 1;
            let stuck = facts.running && !facts.is_young(event.created_at);
            check.fail(stuck.then(|| {
                format!("{} {}: event {} still waits in the outbox", event.topic, event.subject, event.sequence)
            }));
            continue;
        }
        let on_bus = payloads.get(&(event.topic.as_str(), event.subject.as_str(), event.sequence));
        // Personal data is removed from the outbox; the bus forgets it by itself.
        if let Some(payload) = on_bus.filter(|_| COMPARED.contains(&event.topic.as_str()))
            && !carries(payload, &event.payload)
        {
            let (topic, subject, sequence) = (&event.topic, &event.subject, event.sequence);
            check.fail(Some(format!("{topic} {subject}: event {sequence} on the bus is not as the outbox has it")));
        }
        let there = published
            .get(&(event.topic.as_str(), event.subject.as_str()))
            .is_some_and(|(first, last)| (*first..=*last).contains(&event.sequence));
        let gone = forgotten(log.whole_since.get(&event.topic).copied(), Some(event.created_at));
        check.saw(
            (!there && !gone)
                .then(|| format!("{} {}: event {} is not on the bus", event.topic, event.subject, event.sequence)),
        );
    }
    check
}

/// Whether a message is an event to the letter, or has the same members: a sidecar writes the envelope anew, adds its own members and
/// puts its own span into the trace.
fn carries(message: &str, event: &str) -> bool {
    let members = |text| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    message == event
        || matches!((members(message), members(event)), (Ok(message), Ok(event))
            if event.iter().all(|(name, value)| name == "traceparent" || message.get(name) == Some(value)))
}

/// Whether two messages are of one event and tell the same. A sidecar gives each its own members and trace.
fn repeats(message: &str, first: &str) -> bool {
    const OF_THE_EVENT: [&str; 5] = ["id", "type", "source", "subject", "data"];
    let members = |text| serde_json::from_str::<serde_json::Value>(text);
    message == first
        || matches!((members(message), members(first)), (Ok(message), Ok(first))
            if OF_THE_EVENT.iter().all(|name| message[name] == first[name]))
}

/// What a service could not handle was replayed.
fn dead_letters_are_replayed(facts: &Facts) -> Check {
    let mut check = Check::new("dead letters were replayed");
    let Some(log) = &facts.log else {
        return check.left_out("this broker keeps no log");
    };
    for letter in &log.dead_letters {
        // What is no event cannot be replayed, so that no audit would ever be clean again.
        let event = letter.id.as_ref();
        check.saw(
            event.map(|id| format!("{} {} ({id}) for {}: {}", letter.topic, letter.key, letter.group, letter.reason)),
        );
    }
    check
}

/// Topics of the services' own events.
const TOPICS: [&str; 6] = ["orders", "payments", "stock", "customers", "prospect-events", "products"];

/// No service has consumed an event that was never published.
fn consumers_are_not_ahead(facts: &Facts) -> Check {
    let mut check = Check::new("services have consumed only what was published");
    let inboxes =
        [("order", &facts.order_inbox), ("stock", &facts.stock_inbox), ("notification", &facts.notification_inbox)];
    let messages = facts.log.iter().flat_map(|log| &log.messages);
    let foreign: HashSet<Subject<'_>> = messages
        .filter(|message| serde_json::from_str(&message.payload).is_ok_and(|event: Envelope| event.is_foreign()))
        .map(|message| (message.topic.as_str(), message.key.as_str()))
        .collect();
    for (service, inbox) in inboxes {
        for ((topic, subject), (consumed, at)) in &inbox.last {
            // What another program publishes or reports counts as it likes, and so does what is recorded by the id of its event.
            let own = TOPICS.contains(&topic.as_str()) && !foreign.contains(&(topic.as_str(), subject.as_str()));
            let key = (topic.clone(), subject.clone());
            if !own || *consumed <= 1 && !facts.aggregates.contains_key(&key) {
                continue;
            }
            let aggregate = facts.aggregates.get(&key);
            // A reservation is forgotten a while after its release.
            let released = aggregate.is_none() && topic == "stock" && facts.released_before.is_some();
            let last = aggregate.map_or(0, |aggregate| aggregate.last);
            let ahead = *consumed > last && !released && !facts.is_young(*at);
            check.saw(ahead.then(|| {
                format!("{topic} {subject}: {service} has consumed event {consumed}, the last one is {last}")
            }));
        }
    }
    check
}

/// What a consumer has handled, by the bus, is in its inbox, unless it is in the dead letters: a store that was put back to an earlier
/// moment lacks it.
fn handled_events_took_effect(facts: &Facts) -> Check {
    let mut check = Check::new("events that a service has handled took effect in its store");
    let Some(log) = facts.log.as_ref().filter(|_| !facts.handled.is_empty()) else {
        return check.left_out("this broker does not say what was handled");
    };
    let given_up: HashSet<(&str, &str)> =
        log.dead_letters.iter().map(|letter| (letter.group.as_str(), letter.key.as_str())).collect();
    let end = log.end;
    for ((group, topic), offset) in &facts.handled {
        check.fail(
            (*offset > end).then(|| format!("{group} has handled {topic} up to {offset}, the log ends at {end}")),
        );
    }
    let inboxes = [("stock", &facts.stock_inbox), ("notification", &facts.notification_inbox)];
    for (group, inbox) in inboxes {
        let mut handled: BTreeMap<Subject<'_>, (i64, Timestamp)> = BTreeMap::new();
        let mut replayed = HashSet::new();
        for (message, position) in log.messages.iter().zip(&log.positions) {
            let Some(offset) = facts.handled.get(&(group.to_owned(), message.topic.clone())) else { continue };
            let Ok(envelope) = serde_json::from_str::<Envelope>(&message.payload) else { continue };
            let (topic, key) = (message.topic.as_str(), message.key.as_str());
            if envelope.replay {
                // What follows the letter waits for it.
                replayed.extend((position > offset).then_some((topic, key)));
            } else if let (true, Some(sequence), Some(time), false) =
                (position <= offset, envelope.sequence, envelope.time, envelope.is_foreign())
            {
                let last = handled.entry((topic, key)).or_insert((sequence, time));
                *last = (*last).max((sequence, time));
            }
        }
        for ((topic, key), (sequence, time)) in handled {
            let effect = inbox.last.get(&(topic.to_owned(), key.to_owned())).map(|(last, _)| *last);
            let lacks = match effect {
                Some(last) => last < sequence,
                None => !forgotten(inbox.pruned_before, Some(time)),
            };
            let waits = given_up.contains(&(group, key)) || replayed.contains(&(topic, key));
            check.saw((lacks && !waits).then(|| {
                let last = effect.unwrap_or_default();
                format!("{topic} {key}: {group} has handled event {sequence}, and its store knows only of {last}")
            }));
        }
    }
    check
}

/// Topics that the notification service consumes.
const CONSUMED_TOPICS: [&str; 4] = ["orders", "stock", "payments", "customers"];

/// The notification service has consumed each aggregate's last event, or will, and none that was never published.
fn notifications_follow(facts: &Facts) -> Check {
    let mut check = Check::new("notifications have consumed every event once");
    let letters = facts.log.iter().flat_map(|log| &log.dead_letters);
    let given_up: HashSet<&str> =
        letters.filter(|letter| letter.group == "notification").map(|letter| letter.key.as_str()).collect();
    for ((topic, subject), aggregate) in &facts.aggregates {
        let last = aggregate.last;
        if last == 0 || !CONSUMED_TOPICS.contains(&topic.as_str()) {
            continue;
        }
        let consumed = match facts.notification_inbox.last.get(&(topic.clone(), subject.clone())) {
            Some((consumed, _)) => *consumed,
            // Old inbox entries are deleted.
            None if forgotten(facts.notification_inbox.pruned_before, aggregate.last_published) => last,
            None => 0,
        };
        check.pending += usize::from(consumed < last);
        let overdue = aggregate.last_published.is_some_and(|at| facts.is_consumption_overdue(at));
        let wrong = consumed > last || consumed < last && overdue && !given_up.contains(subject.as_str());
        check.saw(wrong.then(|| format!("{topic} {subject}: consumed event {consumed}, the last one is {last}")));
    }
    check
}

/// Of every event that took effect there is the notification that it makes, as long as notifications are kept.
fn notifications_are_of_their_events(facts: &Facts) -> Check {
    let mut check = Check::new("events that were consumed have made their notifications");
    let messages = facts.log.iter().flat_map(|log| &log.messages);
    let skipped: HashSet<Subject<'_>> = messages
        .filter(|message| serde_json::from_str(&message.payload).is_ok_and(|event: Envelope| event.skipmissing))
        .map(|message| (message.topic.as_str(), message.key.as_str()))
        .collect();
    for event in facts.outboxes.values().flat_map(|outbox| &outbox.events) {
        let subject = (event.topic.clone(), event.subject.clone());
        let consumed = facts.notification_inbox.last.get(&subject).map_or(0, |(consumed, _)| *consumed);
        // An operator may have given up what is missing before a replayed letter.
        let given_up = skipped.contains(&(event.topic.as_str(), event.subject.as_str()));
        if consumed < event.sequence || given_up {
            continue;
        }
        let Some((id, at, expected)) = serde_json::from_str(&event.payload).ok().as_ref().and_then(notification_of)
        else {
            continue;
        };
        let made = facts.notifications.get(&id);
        let gone = made.is_none() && forgotten(facts.notified_before, Some(at));
        let (topic, subject, sequence) = (&event.topic, &event.subject, event.sequence);
        check.saw((made != Some(&expected) && !gone).then(|| {
            let how = if made.is_none() { "has no notification" } else { "has a notification about something else" };
            format!("{topic} {subject}: event {sequence} {how}")
        }));
    }
    check
}

/// A mark of what was deleted by age lies in the past: it would excuse that newer things are missing.
fn only_old_rows_were_deleted(facts: &Facts) -> Check {
    let mut check = Check::new("only what is old was deleted");
    let outboxes = facts.outboxes.iter().map(|(topic, outbox)| (*topic, outbox.pruned_before));
    let marks = [
        ("consumed by order", facts.order_inbox.pruned_before),
        ("consumed by stock", facts.stock_inbox.pruned_before),
        ("consumed by notification", facts.notification_inbox.pruned_before),
        ("notifications", facts.notified_before),
        ("reservations", facts.released_before),
    ];
    // The embedded bus has a mark of its own. Of another broker the time is that of a message, by the clock of whoever published it.
    let embedded = facts.log.iter().filter(|_| !facts.handled.is_empty());
    let log = embedded.flat_map(|log| &log.whole_since);
    let log = log.map(|(topic, since)| (topic.as_str(), Some(*since)));
    for (what, before) in outboxes.chain(marks).chain(log) {
        let Some(before) = before else { continue };
        check.saw(
            (before > facts.now).then(|| format!("{what}: deleted what is from before {before}, which is to come")),
        );
    }
    check
}

/// The events of an order are `placed` first, then `confirmed` if it was, and `cancelled` last if it is.
fn order_events_match_states(facts: &Facts) -> Check {
    let mut check = Check::new("order events match the orders' states");
    let mut kinds: HashMap<&str, Vec<String>> = HashMap::new();
    for event in facts.outboxes.get("orders").into_iter().flat_map(|outbox| &outbox.events) {
        if let Ok(envelope) = serde_json::from_str::<Envelope>(&event.payload) {
            kinds.entry(&event.subject).or_default().push(envelope.kind);
        }
    }
    for order in facts.orders.values() {
        let kinds = kinds.remove(order.id.as_str()).unwrap_or_default();
        let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
        let missing = missing(order.last_sequence, kinds.len());
        let aggregate = facts.aggregates.get(&("orders".to_owned(), order.id.clone())).copied().unwrap_or_default();
        let gone = if facts.may_lack("orders", aggregate, missing) { missing } else { 0 };
        let placed = kinds.first().is_some_and(|kind| kind == "souk.order.placed") == (gone == 0)
            && count("souk.order.placed") == usize::from(gone == 0);
        let confirmed = count("souk.order.confirmed") == usize::from(order.was_confirmed && gone < 2);
        let last = kinds.last().is_some_and(|kind| kind == "souk.order.cancelled");
        let is_cancelled = order.status == "cancelled" && gone < order.last_sequence;
        let cancelled = last == is_cancelled && count("souk.order.cancelled") == usize::from(is_cancelled);
        let right = placed && confirmed && cancelled;
        check.saw((!right).then(|| format!("order {} is {}, its events are {kinds:?}", order.id, order.status)));
    }
    check
}

/// Each event about a prospect that makes an activity has made one, or will: it may not be consumed yet.
fn prospects_have_activities(facts: &Facts) -> Check {
    let mut check = Check::new("every prospect created or updated has its activity");
    for event in facts.outboxes.get("customers").into_iter().flat_map(|outbox| &outbox.events) {
        let Ok(envelope) = serde_json::from_str::<Envelope>(&event.payload) else { continue };
        let Some(activity) = customer::activity_of(&envelope.kind, &envelope.id) else { continue };
        let there = facts.activities.contains(&activity);
        // On a stopped fleet the next start takes it.
        let late = facts.running && event.published && !facts.is_young(event.created_at);
        check.pending += usize::from(!there && !late);
        check.saw(
            (!there && late)
                .then(|| format!("prospect {}: event {} has created no activity", event.subject, event.sequence)),
        );
    }
    check
}
