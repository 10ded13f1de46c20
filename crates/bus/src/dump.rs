//! Reads all messages that a broker stores, for the audit.

use std::collections::HashMap;

use commerce::Timestamp;

use crate::{Bus, DeadLetter, Embedded, Error, Message, Topology, address::Address, dead_letters, kafka};

/// The messages that a broker stores.
#[derive(Debug, Clone, Default)]
pub struct Dump {
    /// Every message, those of one key in their order.
    pub messages: Vec<Message>,
    /// The position of each message in the embedded log; empty with other brokers.
    pub positions: Vec<i64>,
    /// The position of the last message that the embedded log ever had; 0 with other brokers.
    pub end: i64,
    /// The dead letters among them that were not replayed.
    pub dead_letters: Vec<DeadLetter>,
    /// Topics whose old messages were deleted, each with the time since which it is complete.
    pub whole_since: HashMap<String, Timestamp>,
}

impl Bus {
    /// The position in the embedded log up to which each group has handled each topic, by `(group, topic)`; empty with other brokers.
    pub async fn handled(url: &str) -> Result<HashMap<(String, String), i64>, Error> {
        match Address::parse(url)? {
            Address::Embedded(path) => Ok(Embedded::handled(&path).await?),
            _ => Ok(HashMap::new()),
        }
    }

    /// Reads every message that the broker stores. Changes nothing.
    pub async fn read_all(url: &str) -> Result<Dump, Error> {
        match Address::parse(url)? {
            Address::Embedded(path) => {
                let (logged, pruned_before, end) = Embedded::dump(&path).await?;
                let topics = Topology::SOUK.topics.iter().map(|topic| (*topic).to_owned());
                let whole_since = pruned_before.map(|before| topics.map(|topic| (topic, before)).collect());
                let positions = logged.iter().map(|logged| (logged.position.to_string(), logged.message.clone()));
                Ok(Dump {
                    end,
                    dead_letters: dead_letters::unreplayed(positions),
                    positions: logged.iter().map(|logged| logged.position).collect(),
                    messages: logged.into_iter().map(|logged| logged.message).collect(),
                    whole_since: whole_since.unwrap_or_default(),
                })
            }
            Address::Kafka(settings) => kafka::dump(&settings, Topology::SOUK.all_topics().collect()).await,
            Address::Rabbit { .. } => Err(Error::Unsupported("RabbitMQ keeps no log of published messages")),
            Address::Dapr(_) => Err(Error::Unsupported("a Dapr sidecar keeps no log of published messages")),
        }
    }
}
