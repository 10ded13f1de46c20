//! Events between services: envelope, port to a broker, outbox relay, inbox.
//!
//! A change and its event are written in one transaction ([`outbox`]). The [`Relay`] publishes the events. A consumer records
//! each event in the transaction of its effect ([`inbox`]). So every hop delivers at least once and takes effect exactly
//! once, on any broker. Payload types stay with the publisher; consumers ignore fields that they do not need.

mod address;
mod broker;
mod consumer;
mod dapr;
mod dead_letters;
mod dump;
mod embedded;
mod event;
pub mod inbox;
mod kafka;
mod last_events;
pub mod outbox;
mod per_key_order;
mod rabbit;
mod relay;
mod sidecar;
mod stale_store;
pub mod topology;

use std::sync::Arc;

pub use consumer::{Failure, Handler};
pub use dead_letters::{DeadLetter, DeadLetterFilter};
pub use dump::Dump;
pub use embedded::Embedded;
pub use event::{Event, NewEvent, PLAIN};
pub use last_events::{Comparison, LastEvents};
pub use outbox::{Message, Outbox, PendingMessage, SqlOutbox};
pub use relay::{CRASH_POINTS, Relay};
pub use sidecar::Sidecar;
pub use topology::Topology;

use axum::Router;
use chassis::Context;

use address::Address;
use broker::Broker;

/// The tables of [`outbox`], [`inbox`] and the leases of [`upkeep`], to be migrated together with a service's own.
pub const MIGRATIONS: &[db::Migration] = &[
    db::Migration { version: 1, name: "outbox and inbox", sql: include_str!("../migrations/outbox_inbox.sql") },
    upkeep::MIGRATIONS[0],
    db::Migration { version: 3, name: "outbox shards", sql: include_str!("../migrations/outbox_shards.sql") },
];

/// The connection to the broker that the URL selects. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    broker: Arc<Broker>,
    topology: Topology,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Settings may hold passwords.
        f.debug_struct("Bus").field("broker", &self.broker.name()).finish_non_exhaustive()
    }
}

/// Errors of the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not a valid bus URL; the text is without secrets.
    #[error(
        "`{0}` is not a bus URL, which is one of embedded:PATH, kafka://HOST:PORT[,HOST:PORT], amqp://HOST:PORT/VHOST or dapr://HOST:PORT"
    )]
    Url(String),
    /// A setting in the URL is not supported.
    #[error("{0}")]
    Setting(String),
    /// The embedded log's database failed.
    #[error("the embedded bus failed")]
    Log(#[from] db::Error),
    /// The embedded log's database failed for a group of publications.
    #[error("the embedded bus failed")]
    Shared(#[source] Arc<db::Error>),
    /// Kafka refused a request, or is unreachable.
    #[error("Kafka: {0}")]
    Kafka(rdkafka::error::KafkaError),
    /// Kafka is unreachable, with the reason.
    #[error("Kafka is unreachable: {0}")]
    Unreachable(String),
    /// RabbitMQ refused a request, or is unreachable.
    #[error("RabbitMQ: {0}")]
    Rabbit(lapin::Error),
    /// The Dapr sidecar is unreachable.
    #[error("the Dapr sidecar is unreachable")]
    Dapr(#[source] reqwest::Error),
    /// The broker refused a message.
    #[error("the broker refused a message of the topic {topic}: {reason}")]
    Refused {
        /// The topic of the message.
        topic: String,
        /// The broker's reason.
        reason: String,
    },
    /// The broker did not respond in time.
    #[error("the broker did not respond in time")]
    TimedOut,
    /// The broker does not support the operation.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The topology has no such group: a programming error.
    #[error("the topology has no group {0}")]
    Group(String),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
}

impl Error {
    /// Whether the message is larger than the broker accepts, so that a retry is pointless.
    pub(crate) fn is_too_large(&self) -> bool {
        use rdkafka::error::{KafkaError, RDKafkaErrorCode};
        matches!(self, Self::Kafka(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)))
    }
}

// Without a source: its text is part of ours already.
impl From<rdkafka::error::KafkaError> for Error {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self::Kafka(error)
    }
}

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        Self::Rabbit(error)
    }
}

impl Bus {
    /// Opens the bus at a URL: `embedded:PATH`, a durable log in that SQLite file; `kafka://…`; `amqp://…`, which is RabbitMQ;
    /// `dapr://…`, a sidecar. Succeeds also while the broker is unreachable: publishing fails until it is back, and consumers
    /// wait for it.
    pub async fn open(url: &str, ctx: &Context) -> Result<Self, Error> {
        Self::open_with(url, ctx, Topology::SOUK).await
    }

    /// As [`Self::open`], with another topology, for tests.
    pub async fn open_with(url: &str, ctx: &Context, topology: Topology) -> Result<Self, Error> {
        let broker = Broker::open(Address::parse(url)?, ctx, topology).await?;
        Ok(Self { broker: Arc::new(broker), topology })
    }

    /// Publishes messages and waits until they are durable; those of one key keep their order. After an error any of them may
    /// have been stored, so publish all of them again before the ones that follow.
    pub async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        self.broker.publish(messages).await
    }

    /// Delivers a group's messages to a handler until the process stops: each at least once, those of one key in their order.
    /// The [`topology`] defines the topics of the group. A group continues where it stopped.
    pub fn subscribe<H: Handler>(&self, ctx: &Context, group: &'static str, handler: H) -> Result<(), Error> {
        let topics = self.topology.topics_of(group).ok_or_else(|| Error::Group(group.to_owned()))?;
        self.broker.subscribe(consumer::Consumer::new(ctx.clone(), self.clone(), group, topics, handler));
        Ok(())
    }

    /// The routes by which the broker delivers messages, to be served with the service's own. Only Dapr has any.
    pub fn routes(&self) -> Router {
        self.broker.routes()
    }
}
