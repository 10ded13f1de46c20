//! RabbitMQ, by lapin.
//!
//! A topic is a fanout exchange, a group's share of it the queue `<group>.<topic>`. RabbitMQ keeps a message only in
//! queues that are there when it comes, so whoever connects declares those of all groups. A queue has one active
//! consumer at a time, which keeps the order; when it goes, the broker turns to the next replica.

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

pub(crate) use dead_letters::Held;

/// Longest wait for the broker.
const PATIENCE: Duration = Duration::from_secs(10);
/// The header that holds the key; a routing key may be shorter than a key.
const KEY: &str = "key";

/// A broker's virtual host.
pub(crate) struct Rabbit {
    uri: AMQPUri,
    prefix: String,
    topology: Topology,
    /// What is published through; none before the first time and after a failure.
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
        // The broker notices by itself when nobody tells it.
        let _ = tokio::time::timeout(PATIENCE, self.connection.close(200, "".into())).await;
    }
}

impl Rabbit {
    pub(crate) fn open(uri: AMQPUri, prefix: String, topology: Topology) -> Self {
        Self { uri, prefix, topology, publisher: Mutex::new(None) }
    }

    /// Connects, and declares what the topology wants. Declaring what is there as it is wanted changes nothing.
    async fn connect(&self) -> Result<Link, Error> {
        let connect = async {
            let properties = ConnectionProperties::default().with_connection_name("souk".into());
            let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
            let channel = connection.create_channel().await?;
            self.declare(&channel).await?;
            Ok(Link { connection: std::sync::Arc::new(connection), channel })
        };
        tokio::time::timeout(PATIENCE, connect).await.map_err(|_| Error::Silent)?
    }

    async fn declare(&self, channel: &Channel) -> Result<(), Error> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        for topic in self.topology.all_topics() {
            let exchange = self.name(&topic).into();
            channel.exchange_declare(exchange, ExchangeKind::Fanout, durable, FieldTable::default()).await?;
        }
        for topic in self.topology.topics {
            let dead = self.name(&topology::dead(topic));
            self.queue(channel, &dead, &dead, FieldTable::default()).await?;
        }
        for (group, topics) in self.topology.groups {
            for topic in *topics {
                let mut arguments = FieldTable::default();
                arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
                // For what the broker itself gives up, as by a policy of its owner.
                let dead = self.name(&topology::dead(topic));
                arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(dead.into()));
                self.queue(channel, &self.share(group, topic), &self.name(topic), arguments).await?;
            }
        }
        Ok(())
    }

    async fn queue(&self, channel: &Channel, name: &str, exchange: &str, arguments: FieldTable) -> Result<(), Error> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, arguments).await?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(name.into(), exchange.into(), "".into(), options, none).await?;
        Ok(())
    }

    /// The exchange of a topic.
    fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The queue that keeps a topic for a group.
    fn share(&self, group: &str, topic: &str) -> String {
        format!("{}{group}.{topic}", self.prefix)
    }
}

/// A message as the other adapters give it.
fn outgoing(topic: &str, delivery: &Delivery) -> Message {
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
