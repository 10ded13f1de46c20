//! Dead letters: messages that could not be handled, kept with the reason until an operator replays them.
//!
//! A log keeps its messages, so a marker after a letter records that it was replayed. From a queue a replayed letter is
//! removed.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{Bus, Embedded, Error, Message, broker::Broker, kafka, rabbit::UnackedMessages, topology};

/// Maximum size of a letter in bytes: every broker accepts it by default.
pub(crate) const MAX_BYTES: usize = 15 << 20;
/// Letters are not truncated below this size, in bytes.
pub(crate) const MIN_BYTES: usize = 16 << 10;
/// Maximum length of the reason in a truncated letter, in characters: a reason may quote the message.
const MAX_REASON_CHARS: usize = 1_000;

/// A message that a group could not handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The topic of the message.
    pub topic: String,
    /// The group that could not handle it.
    pub group: String,
    /// Why it could not be handled.
    pub reason: String,
    /// The key of the message.
    pub key: String,
    /// The id of the event, if it is one.
    pub id: Option<String>,
    /// The type of the event, such as `souk.order.confirmed`, if it is one.
    pub kind: Option<String>,
    /// Its number among the events of its aggregate, if it is one.
    pub sequence: Option<i64>,
    /// The text of the message.
    pub payload: String,
    /// Whether it was replayed.
    pub replayed: bool,
    /// Whether later events of its aggregate may have taken effect.
    #[serde(skip)]
    overtaken: bool,
    #[serde(skip)]
    location: Location,
}

/// Position of a letter at its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    Log(String),
    Queue(u64),
}

/// Selects the letters that match every field that is set.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only letters of this topic.
    pub topic: Option<String>,
    /// Only letters of this group.
    pub group: Option<String>,
    /// Only the letter of the event with this id.
    pub id: Option<String>,
    /// Includes letters that were replayed before.
    pub replayed: bool,
    /// A replay takes effect although an earlier event of its aggregate never did.
    pub skip_missing: bool,
}

/// A message of a dead letter topic: a letter, or a marker that one was replayed.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    group: String,
    #[serde(default)]
    payload: Option<String>,
    /// Whether later events of the aggregate wait. Versions without this field let them overtake.
    #[serde(default)]
    in_order: bool,
    #[serde(default)]
    replayed: Option<String>,
}

/// The attributes of an event that a letter shows.
#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    sequence: Option<i64>,
}

impl DeadLetterFilter {
    fn matches(&self, letter: &DeadLetter) -> bool {
        self.topic.as_ref().is_none_or(|topic| *topic == letter.topic)
            && self.group.as_ref().is_none_or(|group| *group == letter.group)
            && (self.id.is_none() || self.id == letter.id)
            && (self.replayed || !letter.replayed)
    }
}

impl Bus {
    /// Lists the dead letters, oldest first. A queue has no replayed ones.
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>, Error> {
        let (letters, unacked) = self.find(filter).await?;
        if let Some(unacked) = unacked {
            unacked.release().await;
        }
        Ok(letters)
    }

    /// Publishes dead letters again, the events of an aggregate in their sequence, each for the group that could not handle it, and
    /// marks them as replayed. Returns the replayed letters, and those that cannot be replayed because they are not events. A letter
    /// whose marker is lost in a crash is replayed again the next time, and the inbox drops it.
    pub async fn replay(&self, filter: &DeadLetterFilter) -> Result<(Vec<DeadLetter>, Vec<DeadLetter>), Error> {
        let (mut letters, unacked) = self.find(filter).await?;
        // One that failed again is behind those that wait for it.
        letters.sort_by(|a, b| (&a.topic, &a.key, a.sequence).cmp(&(&b.topic, &b.key, b.sequence)));
        let (mut replayed, mut skipped) = (Vec::new(), Vec::new());
        for letter in letters {
            let Some(message) = letter.replay_message(filter.skip_missing) else {
                skipped.push(letter);
                continue;
            };
            self.publish(vec![message]).await?;
            match (&letter.location, &unacked) {
                (Location::Queue(tag), Some(unacked)) => unacked.acknowledge(*tag).await?,
                (Location::Log(position), _) => {
                    let topic = topology::dead_letter_topic(&letter.topic);
                    let payload = json!({ "replayed": position }).to_string();
                    self.publish(vec![Message { topic, key: letter.key.clone(), payload }]).await?;
                }
                (Location::Queue(_), None) => {}
            }
            replayed.push(letter);
        }
        if let Some(unacked) = unacked {
            unacked.release().await;
        }
        Ok((replayed, skipped))
    }

    async fn find(&self, filter: &DeadLetterFilter) -> Result<(Vec<DeadLetter>, Option<UnackedMessages>), Error> {
        let all = self.topology.topics.iter().copied();
        let topics: Vec<String> = all
            .filter(|topic| filter.topic.as_ref().is_none_or(|t| t == topic))
            .map(topology::dead_letter_topic)
            .collect();
        let (letters, unacked) = match &*self.broker {
            Broker::Embedded(log) => {
                let found = log.find(&topics).await?;
                let found = found.into_iter().map(|logged| (logged.position.to_string(), logged.message));
                (parse_log(found), None)
            }
            Broker::Kafka(kafka) => {
                let found = kafka::read(&kafka.settings, topics).await?;
                let found =
                    found.into_iter().map(|found| (format!("{}/{}", found.partition, found.offset), found.message));
                (parse_log(found), None)
            }
            Broker::Rabbit(rabbit) => {
                let unacked = rabbit.get_all(&topics).await?;
                let letters = unacked.messages.iter().filter_map(|(tag, m)| parse(m, Location::Queue(*tag))).collect();
                (letters, Some(unacked))
            }
            Broker::Dapr(_) => {
                return Err(Error::Unsupported(
                    "a Dapr sidecar cannot list dead letters; use the URL of the broker behind it",
                ));
            }
        };
        Ok((letters.into_iter().filter(|letter| filter.matches(letter)).collect(), unacked))
    }
}

/// The letters of a log that were not replayed; other messages are passed over.
pub(crate) fn unreplayed(found: impl Iterator<Item = (String, Message)>) -> Vec<DeadLetter> {
    let letters = found.filter(|(_, message)| message.topic.ends_with(topology::DEAD_LETTER_SUFFIX));
    parse_log(letters).into_iter().filter(|letter| !letter.replayed).collect()
}

/// Parses the letters and markers of a log.
fn parse_log(found: impl Iterator<Item = (String, Message)>) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    let mut marked = HashSet::new();
    for (position, message) in found {
        match serde_json::from_str::<Body>(&message.payload) {
            Ok(Body { replayed: Some(position), .. }) => drop(marked.insert((message.topic, position))),
            _ => letters.extend(parse(&message, Location::Log(position))),
        }
    }
    for letter in &mut letters {
        let Location::Log(position) = &letter.location else { continue };
        letter.replayed = marked.contains(&(topology::dead_letter_topic(&letter.topic), position.clone()));
    }
    letters
}

/// Parses a letter; `None` if it is a marker.
fn parse(message: &Message, location: Location) -> Option<DeadLetter> {
    // A message that the broker itself dead-lettered is not wrapped in a body.
    let body = serde_json::from_str::<Body>(&message.payload).ok().filter(|body| body.payload.is_some());
    let (reason, group, payload, overtaken) = match body {
        Some(Body { replayed: Some(_), .. }) => return None,
        Some(body) => (body.reason.unwrap_or_default(), body.group, body.payload.unwrap_or_default(), !body.in_order),
        None => ("dead-lettered by the broker".into(), String::new(), message.payload.clone(), false),
    };
    let envelope = serde_json::from_str::<Envelope>(&payload).ok();
    let sequence = envelope.as_ref().and_then(|envelope| envelope.sequence);
    let (id, kind) = envelope.map(|envelope| (envelope.id, envelope.kind)).unzip();
    Some(DeadLetter {
        topic: topology::original_topic(&message.topic).to_owned(),
        group,
        reason,
        key: message.key.clone(),
        id,
        kind,
        sequence,
        payload,
        replayed: false,
        overtaken,
        location,
    })
}

/// The dead letter of a message, with the same key. If it is larger than `max_bytes`, the message is truncated and the
/// reason says so; such a letter cannot be replayed.
pub(crate) fn encode(message: &Message, group: &str, reason: &str, max_bytes: usize) -> Message {
    let body = |reason: &str, payload: &str| {
        json!({"reason": reason, "group": group, "topic": message.topic, "payload": payload, "in_order": true})
            .to_string()
    };
    let mut payload = body(reason, &message.payload);
    if payload.len() > max_bytes {
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        let reason = format!("{reason} (of {} bytes only the beginning is kept)", message.payload.len());
        let remaining = max_bytes.saturating_sub(body(&reason, "").len());
        payload = body(&reason, truncate(&message.payload, remaining));
    }
    Message { topic: topology::dead_letter_topic(&message.topic), key: message.key.clone(), payload }
}

/// The longest prefix of a text that takes at most `max_bytes` in JSON.
fn truncate(text: &str, max_bytes: usize) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, char)| {
        bytes += match char {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            // As \u0000.
            char if char.is_control() => 6,
            char => char.len_utf8(),
        };
        bytes > max_bytes
    });
    end.map_or(text, |(end, _)| &text[..end])
}

impl DeadLetter {
    /// The event marked as a replay for its group; `None` if the message is not an event.
    fn replay_message(&self, skip_missing: bool) -> Option<Message> {
        self.id.as_ref()?;
        // The members are kept as raw JSON, so that amounts do not change.
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&self.payload).ok()?;
        let flags = [("replay", true), ("skipmissing", skip_missing), ("overtaken", self.overtaken)];
        for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
            members.insert(name.into(), serde_json::value::to_raw_value(&true).ok()?);
        }
        if !self.group.is_empty() {
            members.insert("replaygroup".into(), serde_json::value::to_raw_value(&self.group).ok()?);
        }
        let payload = serde_json::to_string(&members).ok()?;
        Some(Message { topic: self.topic.clone(), key: self.key.clone(), payload })
    }
}

impl Embedded {
    /// All messages of these topics.
    async fn find(&self, topics: &[String]) -> Result<Vec<crate::embedded::Logged>, Error> {
        let offsets = topics.iter().map(|topic| (topic.clone(), 0)).collect();
        Ok(self.read(&offsets, i64::MAX).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_is_too_large_is_truncated_and_says_so() {
        let payload = "\"\\\u{1}é\n".repeat(3_000);
        let message = Message { topic: "orders".into(), key: "o".into(), payload: payload.clone() };
        let whole = encode(&message, "stock", "why", MAX_BYTES);
        for max_bytes in [MIN_BYTES, MIN_BYTES + 1, MIN_BYTES + 2, MIN_BYTES + 3, whole.payload.len() - 1] {
            let cut = encode(&message, "stock", &"why ".repeat(5_000), max_bytes);
            assert!(
                cut.payload.len() <= max_bytes && cut.payload.len() > max_bytes - 6,
                "{} of {max_bytes}",
                cut.payload.len()
            );
            let found = parse(&cut, Location::Queue(1)).expect("a letter");
            assert!(payload.starts_with(&found.payload), "{max_bytes}");
            assert!(found.reason.starts_with("why why") && found.reason.contains("18000 bytes"), "{}", found.reason);
            assert_eq!((found.replay_message(false), found.key.as_str(), found.topic.as_str()), (None, "o", "orders"));
        }
        let found = parse(&whole, Location::Queue(1)).expect("a letter");
        assert_eq!((found.payload, found.reason.as_str(), found.group.as_str()), (payload, "why", "stock"));
    }

    #[test]
    fn a_replayed_letter_is_the_event_to_the_digit_for_its_group() {
        let payload = r#"{"specversion":"1.0","id":"e1","source":"/souk/order","type":"souk.order.placed","subject":"o","time":"2026-01-01T00:00:00Z","sequence":3,"data":{"total":12.10}}"#;
        let body = json!({"reason": "why", "group": "stock", "topic": "orders", "payload": payload}).to_string();
        let message = Message { topic: "orders.dlq".into(), key: "o".into(), payload: body };
        let marker = Message { payload: json!({"replayed": "7"}).to_string(), ..message.clone() };
        let letters =
            parse_log([("7".to_owned(), message.clone()), ("8".into(), message), ("9".into(), marker)].into_iter());
        assert_eq!(letters.iter().map(|letter| letter.replayed).collect::<Vec<_>>(), [true, false]);
        let letter = &letters[0];
        assert_eq!(
            (letter.topic.as_str(), letter.id.as_deref(), letter.reason.as_str()),
            ("orders", Some("e1"), "why")
        );
        let replay = letter.replay_message(false).unwrap();
        assert!(replay.payload.contains(r#""data":{"total":12.10}"#), "{}", replay.payload);
        let event: crate::Event = serde_json::from_str(&replay.payload).unwrap();
        assert!(event.overtaken, "a letter of an earlier version");
        assert!(event.replay && event.replaygroup.as_deref() == Some("stock") && event.sequence == Some(3));
    }
}
