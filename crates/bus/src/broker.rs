//! Dispatches to the adapter of the configured broker.

use std::sync::Arc;

use axum::Router;
use chassis::Context;

use crate::{
    Embedded, Error, Handler, Message, Topology,
    address::Address,
    consumer::{Consumer, run},
    dapr::Dapr,
    embedded,
    kafka::Kafka,
    rabbit::Rabbit,
};

pub(crate) enum Broker {
    Embedded(Arc<Embedded>),
    Kafka(Arc<Kafka>),
    Rabbit(Arc<Rabbit>),
    Dapr(Arc<Dapr>),
}

impl Broker {
    pub(crate) async fn open(address: Address, ctx: &Context, topology: Topology) -> Result<Self, Error> {
        Ok(match address {
            Address::Embedded(path) => Self::Embedded(Arc::new(Embedded::open(&path, ctx, topology).await?)),
            Address::Kafka(settings) => Self::Kafka(Arc::new(Kafka::open(settings, ctx, topology)?)),
            Address::Rabbit { uri, prefix } => Self::Rabbit(Arc::new(Rabbit::open(*uri, prefix, topology))),
            Address::Dapr(settings) => Self::Dapr(Arc::new(Dapr::open(settings)?)),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Kafka(_) => "Kafka",
            Self::Rabbit(_) => "RabbitMQ",
            Self::Dapr(_) => "Dapr",
        }
    }

    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        match self {
            Self::Embedded(log) => log.publish(messages).await,
            Self::Kafka(kafka) => kafka.publish(&messages).await,
            Self::Rabbit(rabbit) => rabbit.publish(messages).await,
            Self::Dapr(dapr) => dapr.publish(messages).await,
        }
    }

    pub(crate) fn subscribe<H: Handler>(&self, consumer: Consumer<H>) {
        let ctx = consumer.ctx.clone();
        let (group, topics) = (consumer.group, consumer.topics);
        // Not exported for Dapr, whose sidecar does not report it.
        let lag = || {
            ctx.metrics
                .gauge("consumer_lag", "Messages that the group has not consumed yet.", &["group"])
                .with_label_values(&[group])
        };
        match self {
            Self::Embedded(log) => {
                let source = embedded::Source { log: Arc::clone(log), group, topics, lag: lag() };
                ctx.spawn("consumer", run(consumer, source))
            }
            Self::Kafka(kafka) => ctx.spawn("consumer", run(consumer, kafka.source(group, topics, lag()))),
            Self::Rabbit(rabbit) => ctx.spawn("consumer", run(consumer, rabbit.source(group, topics, lag()))),
            Self::Dapr(dapr) => ctx.spawn("consumer", run(consumer, dapr.source(topics))),
        };
    }

    pub(crate) fn routes(&self) -> Router {
        match self {
            Self::Dapr(dapr) => Arc::clone(dapr).routes(),
            Self::Embedded(_) | Self::Kafka(_) | Self::Rabbit(_) => Router::new(),
        }
    }
}
