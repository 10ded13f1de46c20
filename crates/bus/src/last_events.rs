//! Compares what a store holds with the last event about it, for the audit. The payload of an event is the resource as it was after
//! the change, so what was altered without an event shows.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Event,
    outbox::{OutboxDump, OutboxEvent},
};

/// The last event of each aggregate of an outbox.
#[derive(Debug)]
pub struct LastEvents<'a> {
    last: HashMap<(&'a str, &'a str), &'a OutboxEvent>,
    found: Comparison,
}

/// What a comparison has found.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// How many resources were compared.
    pub compared: usize,
    /// Each difference, for people.
    pub differences: Vec<String>,
}

impl<'a> LastEvents<'a> {
    /// Of these events.
    pub fn of(outbox: &'a OutboxDump) -> Self {
        // The later ones of a subject follow the earlier ones.
        let last = outbox.events.iter().map(|event| ((event.topic.as_str(), event.subject.as_str()), event)).collect();
        Self { last, found: Comparison::default() }
    }

    /// Compares a resource, as its events show it, with its last event. Left out are members in `apart`: those that change without an
    /// event, and those that tell of the change and are none of the resource. Nothing is compared if the event with this number
    /// is not kept, or if it is not the last. A member that the event does not have is not compared: an earlier version may not have had
    /// it.
    pub fn compare(&mut self, topic: &str, subject: &str, sequence: i64, stored: &impl Serialize, apart: &[&str]) {
        let Some(event) = self.last.get(&(topic, subject)).filter(|event| event.sequence == sequence) else { return };
        self.found.compared += 1;
        let said = match data(&event.payload) {
            Ok(said) => said,
            Err(error) => return self.differs(format!("{topic} {subject}: event {sequence} cannot be read: {error}")),
        };
        let Ok(Value::Object(stored)) = serde_json::to_value(stored) else { return };
        for (name, value) in said.iter().filter(|(name, _)| !apart.contains(&name.as_str())) {
            let kept = stored.get(name).unwrap_or(&Value::Null);
            if kept != value {
                self.differs(format!("{topic} {subject}: {name} is {kept}, its last event ({sequence}) says {value}"));
            }
        }
    }

    /// One member of what the event with this number says, if it is the last and kept.
    pub fn member(&self, topic: &str, subject: &str, sequence: i64, name: &str) -> Option<Value> {
        let event = self.last.get(&(topic, subject)).filter(|event| event.sequence == sequence)?;
        data(&event.payload).ok()?.remove(name)
    }

    /// Adds a difference that the caller has found.
    pub fn differs(&mut self, what: String) {
        self.found.differences.push(what);
    }

    /// What was found.
    pub fn finish(self) -> Comparison {
        self.found
    }
}

fn data(payload: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let event: Event = serde_json::from_str(payload)?;
    serde_json::from_str(event.data.get())
}

#[cfg(test)]
mod tests {
    use commerce::Timestamp;
    use serde_json::json;

    use super::*;

    fn outbox(data: &Value) -> OutboxDump {
        let envelope = json!({"specversion": "1.0", "id": "e", "source": "/souk/order", "type": "souk.order.placed",
            "subject": "o1", "time": Timestamp::from_micros(0), "sequence": 2, "data": data});
        let event = |sequence, payload| OutboxEvent {
            topic: "orders".into(),
            subject: "o1".into(),
            sequence,
            created_at: Timestamp::from_micros(0),
            published: true,
            payload,
        };
        OutboxDump { events: vec![event(1, "{}".into()), event(2, envelope.to_string())], pruned_before: None }
    }

    fn differences(said: &Value, stored: &Value, sequence: i64) -> Comparison {
        let outbox = outbox(said);
        let mut events = LastEvents::of(&outbox);
        events.compare("orders", "o1", sequence, stored, &["version", "actor"]);
        events.finish()
    }

    #[test]
    fn a_member_that_changed_without_an_event_is_found_unless_it_may() {
        let said = json!({"total": 5.5, "version": 1, "actor": "ada"});
        let same = differences(&said, &json!({"total": 5.5, "version": 3, "notes": "as new versions have"}), 2);
        assert_eq!((same.compared, same.differences), (1, Vec::new()));
        let other = differences(&said, &json!({"total": 5.4, "version": 1}), 2);
        assert_eq!(other.differences, ["orders o1: total is 5.4, its last event (2) says 5.5"]);
        let emptied = differences(&json!({"notes": "ring twice"}), &json!({}), 2);
        assert_eq!(emptied.differences, ["orders o1: notes is null, its last event (2) says \"ring twice\""]);
        let newer = differences(&said, &json!({"total": 5.4}), 3);
        assert_eq!(newer.compared, 0, "its last event is not there");
    }
}
