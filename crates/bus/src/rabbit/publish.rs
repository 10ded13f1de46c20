//! Publishes messages to RabbitMQ.

use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};

use super::{KEY, Link, Rabbit, TIMEOUT};
use crate::{Error, Message, event::Envelope, per_key_order::publish_in_order, topology};

/// Maximum number of keys whose messages are published at the same time.
const MAX_CONCURRENT_KEYS: usize = 128;
/// The delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

impl Rabbit {
    /// Publishes messages; the broker confirms each when its queues have stored it on disk.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        let link = self.publisher().await?;
        let channel = &link.channel;
        let outcome = publish_in_order(messages, MAX_CONCURRENT_KEYS, |message| async move {
            tokio::time::timeout(TIMEOUT, self.send(channel, message)).await.map_err(|_| Error::TimedOut)?
        })
        .await;
        // The connection is still good after a refused message.
        if matches!(&outcome, Err(error) if !matches!(error, Error::Refused { .. })) {
            self.discard(link).await;
        }
        outcome
    }

    async fn publisher(&self) -> Result<Link, Error> {
        let mut slot = self.publisher.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| link.connection.status().connected()) {
            return Ok(link.clone());
        }
        *slot = None;
        let link = self.connect().await?;
        link.channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(slot.insert(link).clone())
    }

    async fn discard(&self, link: Link) {
        let mut slot = self.publisher.lock().await;
        if slot.as_ref().is_some_and(|current| current.channel == link.channel) {
            *slot = None;
        }
        drop(slot);
        // Closing waits for the broker, which may be unreachable.
        tokio::spawn(link.close());
    }

    pub(super) async fn send(&self, channel: &Channel, message: Message) -> Result<(), Error> {
        let mut headers = FieldTable::default();
        headers.insert(KEY.into(), AMQPValue::LongString(message.key.into()));
        let is_event = Envelope::parse(&message.payload).is_some();
        let kind = if is_event { "application/cloudevents+json" } else { "application/json" };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type(kind.into())
            .with_headers(headers);
        // A topic without consumers has no queue, so its messages are dropped; all others must reach a queue.
        let name = message.topic;
        let mandatory = name.ends_with(topology::DEAD_LETTER_SUFFIX) || self.topology.has_consumer(&name);
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let exchange = self.exchange_name(&name).into();
        let confirm =
            channel.basic_publish(exchange, "".into(), options, message.payload.as_bytes(), properties).await?;
        match confirm.await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(Error::Refused { topic: name, reason: "no queue accepts it".into() }),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(Error::Refused { topic: name, reason: "not confirmed".into() })
            }
        }
    }
}
