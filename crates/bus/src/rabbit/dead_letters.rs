//! The dead letters that RabbitMQ keeps.

use lapin::options::{BasicAckOptions, BasicGetOptions};

use super::{Link, Rabbit, outgoing};
use crate::{Error, Message};

/// Messages that are looked at. Those that are not acknowledged go back to their places in the end.
pub(crate) struct Held {
    link: Link,
    /// Each with the number by which it is acknowledged.
    pub(crate) messages: Vec<(u64, Message)>,
}

impl Rabbit {
    /// Looks at all that waits in the queues of some topics of dead letters.
    pub(crate) async fn hold(&self, topics: &[String]) -> Result<Held, Error> {
        let link = self.connect().await?;
        let mut messages = Vec::new();
        for topic in topics {
            while let Some(got) = link.channel.basic_get(self.name(topic).into(), BasicGetOptions::default()).await? {
                messages.push((got.delivery.delivery_tag, outgoing(topic, &got.delivery)));
            }
        }
        Ok(Held { link, messages })
    }
}

impl Held {
    /// Takes one away for good.
    pub(crate) async fn take(&self, number: u64) -> Result<(), Error> {
        Ok(self.link.channel.basic_ack(number, BasicAckOptions { multiple: false }).await?)
    }

    /// Puts the others back.
    pub(crate) async fn release(self) {
        self.link.close().await;
    }
}
