//! All that a broker keeps, for an auditor.

use std::collections::HashMap;

use commerce::Timestamp;

use crate::{Bus, Embedded, Error, Message, Topology, address::Address, kafka};

/// What a broker keeps.
#[derive(Debug, Clone, Default)]
pub struct Dump {
    /// Every message, those of one key in their order.
    pub messages: Vec<Message>,
    /// Topics of which old messages are gone, each with the time from which on all are there.
    pub whole_since: HashMap<String, Timestamp>,
}

impl Bus {
    /// Every message that the broker keeps. Reads only.
    pub async fn read_all(url: &str) -> Result<Dump, Error> {
        match Address::parse(url)? {
            Address::Embedded(path) => {
                let (logged, forgotten) = Embedded::dump(&path).await?;
                let topics = Topology::SOUK.topics.iter().map(|topic| (*topic).to_owned());
                let whole_since = forgotten.map(|before| topics.map(|topic| (topic, before)).collect());
                Ok(Dump {
                    messages: logged.into_iter().map(|logged| logged.message).collect(),
                    whole_since: whole_since.unwrap_or_default(),
                })
            }
            Address::Kafka(settings) => kafka::dump(&settings, Topology::SOUK.all_topics().collect()).await,
            Address::Rabbit { .. } => Err(Error::Unsupported("RabbitMQ keeps no log of what was published")),
            Address::Dapr(_) => Err(Error::Unsupported("a Dapr sidecar keeps no log of what was published")),
        }
    }
}
