//! The envelope: CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>).

use aws_lc_rs::digest::{SHA256, digest};
use commerce::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::Message;

/// The kind of a message that is no CloudEvent and is taken all the same (see [`crate::Handler::takes_plain`]).
pub const PLAIN: &str = "plain";

/// What a service tells of a change it made.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Where it is published.
    pub topic: &'static str,
    /// What happened, as `souk.order.confirmed`.
    pub kind: &'static str,
    /// Id of the aggregate that changed.
    pub subject: String,
    /// Counts the events of this aggregate from 1.
    pub sequence: i64,
    /// The resource's public shape, plus what changed.
    pub data: Box<RawValue>,
    /// The trace in which it happened: that of whoever made the event, unless said otherwise.
    pub traceparent: Option<String>,
}

impl NewEvent {
    /// An event about `subject`.
    pub fn new(
        topic: &'static str,
        kind: &'static str,
        subject: impl Into<String>,
        sequence: i64,
        data: &impl Serialize,
    ) -> Self {
        Self {
            topic,
            kind,
            subject: subject.into(),
            sequence,
            // Fails only for maps whose keys are no texts, which no payload has.
            data: serde_json::value::to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            traceparent: chassis::trace::current_traceparent(),
        }
    }

    /// Says in which trace it happened, for events that are made by a batch's leader for others.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent.or(self.traceparent);
        self
    }

    /// The text that the broker is to get, for a store that keeps its outbox in its own way.
    pub fn envelope(self, source: &str, now: Timestamp) -> String {
        // An envelope of texts and numbers always serialises.
        serde_json::to_string(&Event::wrap(source, self, now)).unwrap_or_default()
    }
}

/// An event as it comes from the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    specversion: String,
    /// Unique among the events of its source.
    pub id: String,
    /// Who tells, as `/souk/order`.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// Id of the aggregate.
    #[serde(default)]
    pub subject: String,
    /// When.
    pub time: Timestamp,
    /// Counts the events of this aggregate from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Whether it is a dead letter that was brought back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
    /// The group that it was brought back for; the others have had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaygroup: Option<String>,
    datacontenttype: Option<String>,
    /// The payload.
    pub data: Box<RawValue>,
    /// Where it came from; set by the consumer, no part of the envelope.
    #[serde(skip)]
    pub topic: String,
}

impl Event {
    /// Wraps what a service tells.
    pub(crate) fn wrap(source: &str, new: NewEvent, now: Timestamp) -> Self {
        Self {
            specversion: "1.0".into(),
            id: uuid::Uuid::now_v7().to_string(),
            source: format!("/souk/{source}"),
            kind: new.kind.into(),
            subject: new.subject,
            time: now,
            sequence: Some(new.sequence),
            traceparent: new.traceparent,
            replay: false,
            replaygroup: None,
            datacontenttype: Some("application/json".into()),
            data: new.data,
            topic: new.topic.into(),
        }
    }

    /// A message of a program that knows no CloudEvents, as an event of the kind [`PLAIN`]: its text is the payload, as it is
    /// if it is JSON, else as a JSON string. It tells no time, so that of its coming is taken, and neither source nor
    /// sequence. The id is made of the message and of its place at the broker: when it comes again it has the same, and
    /// another message with the same text has another one. Where the broker tells no place, equal messages are one.
    pub(crate) fn plain(message: &Message, place: &str, now: Timestamp) -> Self {
        let text = &message.payload;
        let json = serde_json::from_str::<Box<RawValue>>(text).or_else(|_| serde_json::value::to_raw_value(text));
        let named = format!("{}\n{place}\n{}\n{text}", message.topic, message.key);
        let hash = digest(&SHA256, named.as_bytes());
        Self {
            specversion: "1.0".into(),
            id: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            source: String::new(),
            kind: PLAIN.into(),
            subject: message.key.clone(),
            time: now,
            sequence: None,
            traceparent: None,
            replay: false,
            replaygroup: None,
            datacontenttype: Some("application/json".into()),
            data: json.unwrap_or_else(|_| RawValue::NULL.to_owned()),
            topic: message.topic.clone(),
        }
    }

    /// The payload as the consumer's own type, which names what it needs and ignores the rest.
    pub fn data<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.data.get())
    }
}

/// What is asked of a text to know whether it is a CloudEvent or something of other clients.
#[derive(Deserialize)]
pub(crate) struct Envelope {
    #[expect(dead_code, reason = "only its presence is asked for")]
    specversion: String,
    /// The trace it belongs to.
    #[serde(default)]
    pub(crate) traceparent: Option<String>,
}

impl Envelope {
    /// That of a text, if it has one.
    pub(crate) fn of(payload: &str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_message_is_known_again_by_its_place_and_text() {
        let message =
            |key: &str, payload: &str| Message { topic: "t".into(), key: key.into(), payload: payload.into() };
        let at = |place, key, payload| Event::plain(&message(key, payload), place, Timestamp::from_micros(7));
        let plain = |key, payload| at("0/5", key, payload);
        let first = plain("k", r#"{"id":5,"price":1.10}"#);
        assert_eq!((first.kind.as_str(), first.topic.as_str(), first.sequence), (PLAIN, "t", None));
        assert_eq!(first.data.get(), r#"{"id":5,"price":1.10}"#, "to the digit");
        assert_eq!(plain("k", r#"{"id":5,"price":1.10}"#).id, first.id);
        assert_ne!(at("0/6", "k", first.data.get()).id, first.id, "another message that says the same");
        assert!(plain("k", "{}").id != first.id && plain("other", first.data.get()).id != first.id);
        assert_eq!(plain("", "PROSPECT_CREATED: 5").data.get(), r#""PROSPECT_CREATED: 5""#);
    }
}
