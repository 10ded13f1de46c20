//! RabbitMQ, through lapin.
//!
//! A topic is a fanout exchange; each group that consumes it has a queue `<group>.<topic>`. RabbitMQ keeps a message only in
//! queues that exist when it is published, so every connection declares the queues of all groups. A queue has a single
//! active consumer, which keeps the order; when it disconnects, the broker activates that of another replica.

mod consume;
mod dead_letters;
mod publish;

use std::time::Duration;

use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    message::Delivery,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use tokio::sync::Mutex;

use crate::{Error, Message, Topology, topology};

pub(crate) use dead_letters::UnackedMessages;

/// Time-out of operations on the broker.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The header with the key; routing keys are limited to 255 bytes.
const KEY: &str = "key";

/// The adapter for a virtual host of RabbitMQ.
pub(crate) struct Rabbit {
    uri: AMQPUri,
    prefix: String,
    topology: Topology,
    /// The connection for publishing; `None` before the first use and after a failure.
    publisher: Mutex<Option<Link>>,
}

/// A connection with a channel.
#[derive(Clone)]
struct Link {
    connection: std::sync::Arc<Connection>,
    channel: Channel,
}

impl Link {
    async fn close(self) {
        // Without it the broker detects the closed connection by itself.
        let _ = tokio::time::timeout(TIMEOUT, self.connection.close(200, "".into())).await;
    }
}

impl Rabbit {
    pub(crate) fn open(uri: AMQPUri, prefix: String, topology: Topology) -> Self {
        Self { uri, prefix, topology, publisher: Mutex::new(None) }
    }

    /// Connects, and declares the exchanges and queues of the topology. Declaring existing ones changes nothing.
    async fn connect(&self) -> Result<Link, Error> {
        let connect = async {
            let properties = ConnectionProperties::default().with_connection_name("souk".into());
            let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
            let channel = connection.create_channel().await?;
            self.declare(&channel).await?;
            Ok(Link { connection: std::sync::Arc::new(connection), channel })
        };
        tokio::time::timeout(TIMEOUT, connect).await.map_err(|_| Error::TimedOut)?
    }

    async fn declare(&self, channel: &Channel) -> Result<(), Error> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        for topic in self.topology.all_topics() {
            let exchange = self.exchange_name(&topic).into();
            channel.exchange_declare(exchange, ExchangeKind::Fanout, durable, FieldTable::default()).await?;
        }
        for topic in self.topology.topics {
            let dead = self.exchange_name(&topology::dead_letter_topic(topic));
            self.declare_queue(channel, &dead, &dead, FieldTable::default()).await?;
        }
        for (group, topics) in self.topology.groups {
            for topic in *topics {
                let mut arguments = FieldTable::default();
                arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
                // For messages that the broker itself dead-letters, as by a policy of its operator.
                let dead = self.exchange_name(&topology::dead_letter_topic(topic));
                arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(dead.into()));
                self.declare_queue(channel, &self.queue_name(group, topic), &self.exchange_name(topic), arguments)
                    .await?;
            }
        }
        Ok(())
    }

    async fn declare_queue(
        &self,
        channel: &Channel,
        name: &str,
        exchange: &str,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, arguments).await?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(name.into(), exchange.into(), "".into(), options, none).await?;
        Ok(())
    }

    /// The exchange of a topic; for dead letters also the queue.
    fn exchange_name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The queue of a topic for a group.
    fn queue_name(&self, group: &str, topic: &str) -> String {
        format!("{}{group}.{topic}", self.prefix)
    }
}

/// Converts a delivery.
fn to_message(topic: &str, delivery: &Delivery) -> Message {
    let header = delivery.properties.headers().as_ref().and_then(|headers| match headers.inner().get(KEY)? {
        AMQPValue::LongString(key) => Some(key.to_string()),
        AMQPValue::ShortString(key) => Some(key.to_string()),
        _ => None,
    });
    Message {
        topic: topic.to_owned(),
        key: header.unwrap_or_else(|| delivery.routing_key.to_string()),
        payload: String::from_utf8_lossy(&delivery.data).into_owned(),
    }
}
