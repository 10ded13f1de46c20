//! The event envelope: CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>).

use aws_lc_rs::digest::{SHA256, digest};
use commerce::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::Message;

/// The kind of a message that is not a CloudEvent but is handled nevertheless (see [`crate::Handler::takes_plain`]).
pub const PLAIN: &str = "plain";

/// An event about a change, to be published.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The topic that it is published to.
    pub topic: &'static str,
    /// The type of the event, such as `souk.order.confirmed`.
    pub kind: &'static str,
    /// Id of the aggregate that changed.
    pub subject: String,
    /// The number of the event among those of its aggregate, from 1 on.
    pub sequence: i64,
    /// The public representation of the resource, plus what changed.
    pub data: Box<RawValue>,
    /// The trace of the change; by default the one in which the event was created.
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
            // Fails only for maps whose keys are not texts, which no payload has.
            data: serde_json::value::to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            traceparent: chassis::trace::current_traceparent(),
        }
    }

    /// Sets the trace, for events that the leader of a batch creates for other requests.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent.or(self.traceparent);
        self
    }

    /// The serialised event, for a store that implements its own outbox.
    pub fn envelope(self, source: &str, now: Timestamp) -> String {
        // An envelope of texts and numbers always serialises.
        serde_json::to_string(&Event::wrap(source, self, now)).unwrap_or_default()
    }
}

/// An event as received from the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    specversion: String,
    /// Unique among the events of its source.
    pub id: String,
    /// The service that published it, such as `/souk/order`.
    pub source: String,
    /// The type of the event, such as `souk.order.confirmed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Id of the aggregate.
    #[serde(default)]
    pub subject: String,
    /// When the change happened.
    pub time: Timestamp,
    /// The number of the event among those of its aggregate, from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// The trace of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Whether it is a replayed dead letter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
    /// The group that it is replayed for; all other groups ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaygroup: Option<String>,
    /// Whether a replay takes effect although an earlier event of its aggregate never did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipmissing: bool,
    /// Whether it is a replayed dead letter of a version that let later events of an aggregate overtake one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overtaken: bool,
    datacontenttype: Option<String>,
    /// The payload.
    pub data: Box<RawValue>,
    /// The topic that it came from; set by the consumer, not part of the envelope.
    #[serde(skip)]
    pub topic: String,
}

impl Event {
    /// Wraps a new event in its envelope.
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
            skipmissing: false,
            overtaken: false,
            datacontenttype: Some("application/json".into()),
            data: new.data,
            topic: new.topic.into(),
        }
    }

    /// A message that is not a CloudEvent, as an event of the kind [`PLAIN`]. The payload is its text: unchanged if it is JSON,
    /// else as a JSON string. The time is that of its receipt; it has neither source nor sequence. The id is a hash of the
    /// message and its id at the broker, so a redelivery has the same id, and another message with the same text has
    /// another. If the broker has no ids, equal messages count as one.
    pub(crate) fn plain(message: &Message, broker_id: &str, now: Timestamp) -> Self {
        let text = &message.payload;
        let json = serde_json::from_str::<Box<RawValue>>(text).or_else(|_| serde_json::value::to_raw_value(text));
        let named = format!("{}\n{broker_id}\n{}\n{text}", message.topic, message.key);
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
            skipmissing: false,
            overtaken: false,
            datacontenttype: Some("application/json".into()),
            data: json.unwrap_or_else(|_| RawValue::NULL.to_owned()),
            topic: message.topic.clone(),
        }
    }

    /// The payload as the consumer's own type, which has the fields that it needs and ignores the rest.
    pub fn data<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.data.get())
    }
}

/// The attributes that distinguish a CloudEvent from other messages.
#[derive(Deserialize)]
pub(crate) struct Envelope {
    #[expect(dead_code, reason = "only its presence matters")]
    specversion: String,
    /// The trace of the change.
    #[serde(default)]
    pub(crate) traceparent: Option<String>,
}

impl Envelope {
    /// Parses the envelope of a message; `None` if it is not a CloudEvent.
    pub(crate) fn parse(payload: &str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_message_is_identified_by_its_id_at_the_broker_and_its_text() {
        let message =
            |key: &str, payload: &str| Message { topic: "t".into(), key: key.into(), payload: payload.into() };
        let at = |broker_id, key, payload| Event::plain(&message(key, payload), broker_id, Timestamp::from_micros(7));
        let plain = |key, payload| at("0/5", key, payload);
        let first = plain("k", r#"{"id":5,"price":1.10}"#);
        assert_eq!((first.kind.as_str(), first.topic.as_str(), first.sequence), (PLAIN, "t", None));
        assert_eq!(first.data.get(), r#"{"id":5,"price":1.10}"#, "unchanged");
        assert_eq!(plain("k", r#"{"id":5,"price":1.10}"#).id, first.id);
        assert_ne!(at("0/6", "k", first.data.get()).id, first.id, "another message with the same text");
        assert!(plain("k", "{}").id != first.id && plain("other", first.data.get()).id != first.id);
        assert_eq!(plain("", "PROSPECT_CREATED: 5").data.get(), r#""PROSPECT_CREATED: 5""#);
    }
}
