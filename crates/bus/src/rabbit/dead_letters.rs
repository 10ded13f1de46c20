//! Reads and removes dead letters in RabbitMQ.

use lapin::options::{BasicAckOptions, BasicGetOptions};

use super::{Link, Rabbit, to_message};
use crate::{Error, Message};

/// Messages that were delivered and not acknowledged. When the connection closes, the broker requeues them in place.
pub(crate) struct UnackedMessages {
    link: Link,
    /// The messages with their delivery tags.
    pub(crate) messages: Vec<(u64, Message)>,
}

impl Rabbit {
    /// Gets all messages of these dead letter topics without acknowledging them.
    pub(crate) async fn get_all(&self, topics: &[String]) -> Result<UnackedMessages, Error> {
        let link = self.connect().await?;
        let mut messages = Vec::new();
        for topic in topics {
            while let Some(got) =
                link.channel.basic_get(self.exchange_name(topic).into(), BasicGetOptions::default()).await?
            {
                messages.push((got.delivery.delivery_tag, to_message(topic, &got.delivery)));
            }
        }
        Ok(UnackedMessages { link, messages })
    }
}

impl UnackedMessages {
    /// Acknowledges a message, which removes it.
    pub(crate) async fn acknowledge(&self, tag: u64) -> Result<(), Error> {
        Ok(self.link.channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?)
    }

    /// Closes the connection, which requeues the messages that were not acknowledged.
    pub(crate) async fn release(self) {
        self.link.close().await;
    }
}
