//! Consumes a group's messages from RabbitMQ.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::{Link, Rabbit, TIMEOUT, to_message};
use crate::{
    Error,
    consumer::{self, BATCH, Incoming},
};

/// How often the lag is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

impl Rabbit {
    pub(crate) fn source(
        self: &Arc<Self>,
        group: &'static str,
        topics: &'static [&'static str],
        lag: IntGauge,
    ) -> Source {
        Source { rabbit: Arc::clone(self), group, topics, lag }
    }
}

/// A broker as the source of a group's messages.
pub(crate) struct Source {
    rabbit: Arc<Rabbit>,
    group: &'static str,
    topics: &'static [&'static str],
    lag: IntGauge,
}

/// Deliveries of one queue, with its index; `None` when the broker has cancelled the consumer.
type Deliveries = stream::BoxStream<'static, (usize, Option<lapin::Result<Delivery>>)>;

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        let link = self.rabbit.connect().await?;
        let open = async {
            let mut queues = Vec::new();
            let mut deliveries: Vec<Deliveries> = Vec::new();
            for (index, topic) in self.topics.iter().enumerate() {
                // A channel per queue, so that one acknowledgement covers all deliveries of the queue before it.
                let channel = link.connection.create_channel().await?;
                channel.basic_qos(BATCH as u16, BasicQosOptions::default()).await?;
                let name = self.rabbit.queue_name(self.group, topic);
                let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
                let consumer = channel.basic_consume(name.clone().into(), "".into(), options, none).await?;
                let of_queue = consumer.map(Some).chain(stream::iter([None])).map(move |next| (index, next));
                deliveries.push(of_queue.boxed());
                queues.push(Queue { channel, name, topic, last_tag: None });
            }
            Ok((queues, stream::select_all(deliveries)))
        };
        match tokio::time::timeout(TIMEOUT, open).await {
            Ok(Ok((queues, deliveries))) => {
                Ok(Session { link, queues, deliveries, lag: self.lag.clone(), measure_at: Instant::now() })
            }
            Ok(Err(error)) => {
                link.close().await;
                Err(Error::Rabbit(error))
            }
            Err(_) => Err(Error::TimedOut),
        }
    }
}

/// The queue of one topic of the group.
struct Queue {
    channel: Channel,
    name: String,
    topic: &'static str,
    /// Tag of the last delivery in the last batch.
    last_tag: Option<u64>,
}

/// A connection that consumes.
pub(crate) struct Session {
    link: Link,
    queues: Vec<Queue>,
    deliveries: stream::SelectAll<Deliveries>,
    lag: IntGauge,
    /// When to measure the lag next.
    measure_at: Instant,
}

impl Session {
    async fn measure(&mut self) -> Result<(), Error> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut ready = 0;
        for queue in &self.queues {
            let declared = self.link.channel.queue_declare(queue.name.clone().into(), passive, FieldTable::default());
            ready += i64::from(declared.await?.message_count());
        }
        self.lag.set(ready);
        self.measure_at = Instant::now() + MEASURE_INTERVAL;
        Ok(())
    }
}

impl consumer::Session for Session {
    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        let mut messages = Vec::new();
        while messages.len() < BATCH {
            let next = if messages.is_empty() {
                tokio::select! {
                    next = self.deliveries.next() => next,
                    () = tokio::time::sleep_until(self.measure_at) => {
                        self.measure().await?;
                        continue;
                    }
                }
            } else {
                match self.deliveries.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            match next {
                Some((index, Some(Ok(delivery)))) => {
                    let queue = &mut self.queues[index];
                    queue.last_tag = Some(delivery.delivery_tag);
                    let id = delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
                    let message = to_message(queue.topic, &delivery);
                    messages.push(Incoming { message, broker_id: id.unwrap_or_default() });
                }
                // Unacknowledged deliveries are delivered again to the next consumer.
                Some((_, Some(Err(error)))) => return Err(error.into()),
                Some((_, None)) | None => return Err(Error::Unsupported("RabbitMQ has cancelled the consumer")),
            }
        }
        Ok(messages)
    }

    async fn acknowledge(&mut self) {
        for queue in &mut self.queues {
            if let Some(tag) = queue.last_tag.take()
                && let Err(error) = queue.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
            {
                // The connection is lost: the messages are delivered again, and the inbox drops them.
                tracing::debug!(%error, "deliveries are not acknowledged");
            }
        }
    }

    async fn close(self) {
        self.link.close().await;
    }
}
