//! Dead letters: what could not be handled, with the reason, until somebody has it tried again.
//!
//! A log keeps letters for ever, so there a note after a letter says that it was replayed. A queue forgets it.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{Bus, Embedded, Error, Message, broker::Broker, kafka, rabbit::Held, topology};

/// Most bytes of a letter: what every broker takes, unless its owner has chosen less.
pub(crate) const MOST: usize = 15 << 20;
/// What a broker takes of a letter in any case.
pub(crate) const LEAST: usize = 16 << 10;
/// Most characters of a reason in a letter that had to be cut: a reason may quote what it is about.
const REASON: usize = 1_000;

/// A message that a group could not handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Where it was published.
    pub topic: String,
    /// Who could not handle it.
    pub group: String,
    /// Why.
    pub reason: String,
    /// The key of the message.
    pub key: String,
    /// The id of the event, if it is one.
    pub id: Option<String>,
    /// What happened, as `souk.order.confirmed`.
    pub kind: Option<String>,
    /// The message as it was.
    pub payload: String,
    /// Whether it was published again since.
    pub replayed: bool,
    #[serde(skip)]
    place: Place,
}

/// Where a letter stands at its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Log(String),
    Queue(u64),
}

/// Which letters are meant: all that fit every field that is set.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Those of one topic.
    pub topic: Option<String>,
    /// Those of one group.
    pub group: Option<String>,
    /// That of one event.
    pub id: Option<String>,
    /// Those that were replayed before, too.
    pub replayed: bool,
}

/// What stands on a topic of dead letters: a letter, or a note.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    group: String,
    #[serde(default)]
    payload: Option<String>,
    #[serde(default)]
    replayed: Option<String>,
}

/// What is asked of an event.
#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

impl DeadLetterFilter {
    fn fits(&self, letter: &DeadLetter) -> bool {
        self.topic.as_ref().is_none_or(|topic| *topic == letter.topic)
            && self.group.as_ref().is_none_or(|group| *group == letter.group)
            && (self.id.is_none() || self.id == letter.id)
            && (self.replayed || !letter.replayed)
    }
}

impl Bus {
    /// The dead letters, oldest first. A queue has none that were replayed.
    pub async fn dead_letters(&self, chosen: &DeadLetterFilter) -> Result<Vec<DeadLetter>, Error> {
        let (letters, held) = self.find(chosen).await?;
        if let Some(held) = held {
            held.release().await;
        }
        Ok(letters)
    }

    /// Publishes dead letters again, each for the group that could not handle it, and notes that. Gives those that were,
    /// and those that cannot be because they are no events. A letter whose note is lost in a crash is replayed
    /// again the next time, and the inbox drops it.
    pub async fn replay(&self, chosen: &DeadLetterFilter) -> Result<(Vec<DeadLetter>, Vec<DeadLetter>), Error> {
        let (letters, held) = self.find(chosen).await?;
        let (mut replayed, mut left) = (Vec::new(), Vec::new());
        for letter in letters {
            let Some(message) = letter.again() else {
                left.push(letter);
                continue;
            };
            self.publish(vec![message]).await?;
            match (&letter.place, &held) {
                (Place::Queue(number), Some(held)) => held.take(*number).await?,
                (Place::Log(place), _) => {
                    let topic = topology::dead(&letter.topic);
                    let payload = json!({ "replayed": place }).to_string();
                    self.publish(vec![Message { topic, key: letter.key.clone(), payload }]).await?;
                }
                (Place::Queue(_), None) => {}
            }
            replayed.push(letter);
        }
        if let Some(held) = held {
            held.release().await;
        }
        Ok((replayed, left))
    }

    async fn find(&self, chosen: &DeadLetterFilter) -> Result<(Vec<DeadLetter>, Option<Held>), Error> {
        let all = self.topology.topics.iter().copied();
        let topics: Vec<String> =
            all.filter(|topic| chosen.topic.as_ref().is_none_or(|t| t == topic)).map(topology::dead).collect();
        let (letters, held) = match &*self.broker {
            Broker::Embedded(log) => {
                let found = log.find(&topics).await?;
                let places = found.into_iter().map(|logged| (logged.position.to_string(), logged.message));
                (from_log(places), None)
            }
            Broker::Kafka(kafka) => {
                let found = kafka::read(&kafka.settings, topics).await?;
                let places =
                    found.into_iter().map(|found| (format!("{}/{}", found.partition, found.offset), found.message));
                (from_log(places), None)
            }
            Broker::Rabbit(rabbit) => {
                let held = rabbit.hold(&topics).await?;
                let letters = held.messages.iter().filter_map(|(number, m)| letter(m, Place::Queue(*number))).collect();
                (letters, Some(held))
            }
            Broker::Dapr(_) => {
                return Err(Error::Unsupported(
                    "a Dapr sidecar cannot show dead letters; name the broker behind it by its own URL",
                ));
            }
        };
        Ok((letters.into_iter().filter(|letter| chosen.fits(letter)).collect(), held))
    }
}

/// Letters of a log, with what its notes say of them.
fn from_log(found: impl Iterator<Item = (String, Message)>) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    let mut noted = HashSet::new();
    for (place, message) in found {
        match serde_json::from_str::<Body>(&message.payload) {
            Ok(Body { replayed: Some(place), .. }) => drop(noted.insert((message.topic, place))),
            _ => letters.extend(letter(&message, Place::Log(place))),
        }
    }
    for letter in &mut letters {
        let Place::Log(place) = &letter.place else { continue };
        letter.replayed = noted.contains(&(topology::dead(&letter.topic), place.clone()));
    }
    letters
}

/// Reads a letter; none if it is a note.
fn letter(message: &Message, place: Place) -> Option<DeadLetter> {
    // What the broker itself has put aside has no words of ours around it.
    let body = serde_json::from_str::<Body>(&message.payload).ok().filter(|body| body.payload.is_some());
    let (reason, group, payload) = match body {
        Some(Body { replayed: Some(_), .. }) => return None,
        Some(body) => (body.reason.unwrap_or_default(), body.group, body.payload.unwrap_or_default()),
        None => ("put aside by the broker".into(), String::new(), message.payload.clone()),
    };
    let envelope = serde_json::from_str::<Envelope>(&payload).ok();
    let (id, kind) = envelope.map(|envelope| (envelope.id, envelope.kind)).unzip();
    Some(DeadLetter {
        topic: topology::living(&message.topic).to_owned(),
        group,
        reason,
        key: message.key.clone(),
        id,
        kind,
        payload,
        replayed: false,
        place,
    })
}

/// A letter about a message, which keeps its key, of at most so many bytes. Of what is too large for that only the
/// beginning is kept, and the reason says so; then nobody can replay it.
pub(crate) fn write(message: &Message, group: &str, reason: &str, room: usize) -> Message {
    let body = |reason: &str, payload: &str| {
        json!({"reason": reason, "group": group, "topic": message.topic, "payload": payload}).to_string()
    };
    let mut payload = body(reason, &message.payload);
    if payload.len() > room {
        let reason: String = reason.chars().take(REASON).collect();
        let reason = format!("{reason} (of {} bytes only the beginning is kept)", message.payload.len());
        let left = room.saturating_sub(body(&reason, "").len());
        payload = body(&reason, beginning(&message.payload, left));
    }
    Message { topic: topology::dead(&message.topic), key: message.key.clone(), payload }
}

/// As much of a text as takes so many bytes in JSON.
fn beginning(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, letter)| {
        taken += match letter {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            // As \u0000.
            letter if letter.is_control() => 6,
            letter => letter.len_utf8(),
        };
        taken > room
    });
    end.map_or(text, |(end, _)| &text[..end])
}

impl DeadLetter {
    /// The event once more, marked as a replay for its group; none if it is no event.
    fn again(&self) -> Option<Message> {
        self.id.as_ref()?;
        // Members stay as they are written, amounts above all.
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&self.payload).ok()?;
        members.insert("replay".into(), serde_json::value::to_raw_value(&true).ok()?);
        if !self.group.is_empty() {
            members.insert("replaygroup".into(), serde_json::value::to_raw_value(&self.group).ok()?);
        }
        let payload = serde_json::to_string(&members).ok()?;
        Some(Message { topic: self.topic.clone(), key: self.key.clone(), payload })
    }
}

impl Embedded {
    /// All messages of some topics.
    async fn find(&self, topics: &[String]) -> Result<Vec<crate::embedded::Logged>, Error> {
        let offsets = topics.iter().map(|topic| (topic.clone(), 0)).collect();
        Ok(self.read(&offsets, i64::MAX).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_is_too_large_keeps_its_beginning_and_says_so() {
        let payload = "\"\\\u{1}é\n".repeat(3_000);
        let message = Message { topic: "orders".into(), key: "o".into(), payload: payload.clone() };
        let whole = write(&message, "stock", "why", MOST);
        for room in [LEAST, LEAST + 1, LEAST + 2, LEAST + 3, whole.payload.len() - 1] {
            let cut = write(&message, "stock", &"why ".repeat(5_000), room);
            assert!(cut.payload.len() <= room && cut.payload.len() > room - 6, "{} of {room}", cut.payload.len());
            let found = letter(&cut, Place::Queue(1)).expect("a letter");
            assert!(payload.starts_with(&found.payload), "{room}");
            assert!(found.reason.starts_with("why why") && found.reason.contains("18000 bytes"), "{}", found.reason);
            assert_eq!((found.again(), found.key.as_str(), found.topic.as_str()), (None, "o", "orders"));
        }
        let found = letter(&whole, Place::Queue(1)).expect("a letter");
        assert_eq!((found.payload, found.reason.as_str(), found.group.as_str()), (payload, "why", "stock"));
    }

    #[test]
    fn a_replayed_letter_is_the_event_to_the_digit_for_its_group() {
        let payload = r#"{"specversion":"1.0","id":"e1","source":"/souk/order","type":"souk.order.placed","subject":"o","time":"2026-01-01T00:00:00Z","sequence":3,"data":{"total":12.10}}"#;
        let body = json!({"reason": "why", "group": "stock", "topic": "orders", "payload": payload}).to_string();
        let message = Message { topic: "orders.dlq".into(), key: "o".into(), payload: body };
        let note = Message { payload: json!({"replayed": "7"}).to_string(), ..message.clone() };
        let letters =
            from_log([("7".to_owned(), message.clone()), ("8".into(), message), ("9".into(), note)].into_iter());
        assert_eq!(letters.iter().map(|letter| letter.replayed).collect::<Vec<_>>(), [true, false]);
        let letter = &letters[0];
        assert_eq!(
            (letter.topic.as_str(), letter.id.as_deref(), letter.reason.as_str()),
            ("orders", Some("e1"), "why")
        );
        let again = letter.again().unwrap();
        assert!(again.payload.contains(r#""data":{"total":12.10}"#), "{}", again.payload);
        let event: crate::Event = serde_json::from_str(&again.payload).unwrap();
        assert!(event.replay && event.replaygroup.as_deref() == Some("stock") && event.sequence == Some(3));
    }
}
