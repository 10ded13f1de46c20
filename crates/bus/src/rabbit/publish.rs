//! Giving messages to RabbitMQ.

use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};

use super::{KEY, Link, PATIENCE, Rabbit};
use crate::{Error, Message, event::Envelope, per_key_order::publish_in_order, topology};

/// Most keys whose messages are under way at once.
const WIDTH: usize = 128;
/// Messages that survive the broker.
const PERSISTENT: u8 = 2;

impl Rabbit {
    /// Publishes messages; each is confirmed, which the broker does when it is on the disk of its queues.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        let link = self.publisher().await?;
        let channel = &link.channel;
        let outcome = publish_in_order(messages, WIDTH, |message| async move {
            tokio::time::timeout(PATIENCE, self.send(channel, message)).await.map_err(|_| Error::Silent)?
        })
        .await;
        // A message that is refused says nothing against the connection.
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
        // Closing waits for a broker that may be away.
        tokio::spawn(link.close());
    }

    pub(super) async fn send(&self, channel: &Channel, message: Message) -> Result<(), Error> {
        let mut headers = FieldTable::default();
        headers.insert(KEY.into(), AMQPValue::LongString(message.key.into()));
        let is_event = Envelope::of(&message.payload).is_some();
        let kind = if is_event { "application/cloudevents+json" } else { "application/json" };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type(kind.into())
            .with_headers(headers);
        // What nobody hears is gone, as with any fanout exchange; what somebody should hear must have reached his queue.
        let name = message.topic;
        let mandatory = name.ends_with(topology::DEAD) || self.topology.is_heard(&name);
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let exchange = self.name(&name).into();
        let confirm =
            channel.basic_publish(exchange, "".into(), options, message.payload.as_bytes(), properties).await?;
        match confirm.await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(Error::Refused { topic: name, reason: "no queue takes it".into() }),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(Error::Refused { topic: name, reason: "not confirmed".into() })
            }
        }
    }
}
