//! Events between services: envelope, port to a broker, outbox relay, inbox.
//!
//! A write and the event that tells of it are one transaction ([`outbox`]); the [`Relay`] publishes;
//! a consumer records what took effect in the transaction of the effect ([`inbox`]). So every hop is
//! at-least-once with effects exactly once, on any broker. Payload types stay with the publisher;
//! consumers read tolerantly.

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
pub mod outbox;
mod per_key_order;
mod rabbit;
mod relay;
mod sidecar;
pub mod topology;

use std::sync::Arc;

pub use consumer::{Failure, Handler};
pub use dead_letters::{DeadLetter, DeadLetterFilter};
pub use dump::Dump;
pub use embedded::Embedded;
pub use event::{Event, NewEvent, PLAIN};
pub use outbox::{Message, Outbox, SqlOutbox, Waiting};
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

/// The broker, whichever the URL names. Cheap to clone.
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

/// What is wrong with a broker, or with how it is used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no broker; it is shown without secrets.
    #[error(
        "`{0}` is no bus URL: embedded:PATH, kafka://HOST:PORT[,HOST:PORT], amqp://HOST:PORT/VHOST or dapr://HOST:PORT"
    )]
    Url(String),
    /// The URL asks for something that cannot be had.
    #[error("{0}")]
    Setting(String),
    /// The embedded log's database failed.
    #[error("the embedded bus failed")]
    Log(#[from] db::Error),
    /// The embedded log's database refused what several publish together.
    #[error("the embedded bus failed")]
    Shared(#[source] Arc<db::Error>),
    /// Kafka refused, or is away.
    #[error("Kafka: {0}")]
    Kafka(rdkafka::error::KafkaError),
    /// Kafka is away, and why.
    #[error("Kafka does not answer: {0}")]
    Away(String),
    /// RabbitMQ refused, or is away.
    #[error("RabbitMQ: {0}")]
    Rabbit(lapin::Error),
    /// The Dapr sidecar is away.
    #[error("the Dapr sidecar does not answer")]
    Dapr(#[source] reqwest::Error),
    /// The broker took the message and said no.
    #[error("the broker refused a message of the topic {topic}: {reason}")]
    Refused {
        /// Where it was to go.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// The broker did not answer in time.
    #[error("the broker does not answer")]
    Silent,
    /// What is asked for is not in this broker's nature.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The topology knows no such group: a defect.
    #[error("no group is named {0}")]
    Group(String),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
}

impl Error {
    /// Whether the broker takes nothing of that size, however often it is tried.
    pub(crate) fn is_too_large(&self) -> bool {
        use rdkafka::error::{KafkaError, RDKafkaErrorCode};
        matches!(self, Self::Kafka(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)))
    }
}

// No sources: their text is in ours, and would be told twice.
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
    /// Opens the bus that the URL names: `embedded:PATH`, a durable log in that SQLite file; `kafka://…`; `amqp://…`, which
    /// is RabbitMQ; `dapr://…`, a sidecar. A broker that is away is no failure: publishing fails until it is
    /// there, consumers wait for it.
    pub async fn open(url: &str, ctx: &Context) -> Result<Self, Error> {
        Self::open_with(url, ctx, Topology::SOUK).await
    }

    /// The same with topics and groups of one's own, as tests have them.
    pub async fn open_with(url: &str, ctx: &Context, topology: Topology) -> Result<Self, Error> {
        let broker = Broker::open(Address::parse(url)?, ctx, topology).await?;
        Ok(Self { broker: Arc::new(broker), topology })
    }

    /// Makes messages durable at the broker; those of one key keep their order. After an error any of them may have
    /// come there, so all are to be published again before what follows them.
    pub async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        self.broker.publish(messages).await
    }

    /// Gives a group's messages to a handler, each at least once, those of one key in their order, until the process
    /// stops. Which topics the group hears says the [`topology`]. A group goes on where it was.
    pub fn subscribe<H: Handler>(&self, ctx: &Context, group: &'static str, handler: H) -> Result<(), Error> {
        let topics = self.topology.hears(group).ok_or_else(|| Error::Group(group.to_owned()))?;
        self.broker.subscribe(consumer::Consumer::new(ctx.clone(), self.clone(), group, topics, handler));
        Ok(())
    }

    /// Routes by which the broker brings messages, to be served with the service's own. Only Dapr has any.
    pub fn routes(&self) -> Router {
        self.broker.routes()
    }
}
