//! Taking a group's messages from RabbitMQ.

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

use super::{Link, PATIENCE, Rabbit, outgoing};
use crate::{
    Error,
    consumer::{self, BATCH, Incoming},
};

/// How often it is asked how much waits.
const MEASURE: Duration = Duration::from_secs(5);

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

/// A broker as a group reads it.
pub(crate) struct Source {
    rabbit: Arc<Rabbit>,
    group: &'static str,
    topics: &'static [&'static str],
    lag: IntGauge,
}

/// What comes of one of the queues, by its place; nothing when the broker has ended it.
type Coming = stream::BoxStream<'static, (usize, Option<lapin::Result<Delivery>>)>;

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        let link = self.rabbit.connect().await?;
        let open = async {
            let mut queues = Vec::new();
            let mut coming: Vec<Coming> = Vec::new();
            for (place, topic) in self.topics.iter().enumerate() {
                // A channel of its own, so that one acknowledgement stands for all before it.
                let channel = link.connection.create_channel().await?;
                channel.basic_qos(BATCH as u16, BasicQosOptions::default()).await?;
                let name = self.rabbit.share(self.group, topic);
                let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
                let consumer = channel.basic_consume(name.clone().into(), "".into(), options, none).await?;
                let coming_here = consumer.map(Some).chain(stream::iter([None])).map(move |next| (place, next));
                coming.push(coming_here.boxed());
                queues.push(Queue { channel, name, topic, taken: None });
            }
            Ok((queues, stream::select_all(coming)))
        };
        match tokio::time::timeout(PATIENCE, open).await {
            Ok(Ok((queues, coming))) => {
                Ok(Session { link, queues, coming, lag: self.lag.clone(), measure: Instant::now() })
            }
            Ok(Err(error)) => {
                link.close().await;
                Err(Error::Rabbit(error))
            }
            Err(_) => Err(Error::Silent),
        }
    }
}

/// One topic of the group.
struct Queue {
    channel: Channel,
    name: String,
    topic: &'static str,
    /// The last delivery that was given out.
    taken: Option<u64>,
}

/// A connection that consumes.
pub(crate) struct Session {
    link: Link,
    queues: Vec<Queue>,
    coming: stream::SelectAll<Coming>,
    lag: IntGauge,
    /// When to ask how much waits.
    measure: Instant,
}

impl Session {
    async fn measure(&mut self) -> Result<(), Error> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut waiting = 0;
        for queue in &self.queues {
            let told = self.link.channel.queue_declare(queue.name.clone().into(), passive, FieldTable::default());
            waiting += i64::from(told.await?.message_count());
        }
        self.lag.set(waiting);
        self.measure = Instant::now() + MEASURE;
        Ok(())
    }
}

impl consumer::Session for Session {
    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        let mut messages = Vec::new();
        while messages.len() < BATCH {
            let next = if messages.is_empty() {
                tokio::select! {
                    next = self.coming.next() => next,
                    () = tokio::time::sleep_until(self.measure) => {
                        self.measure().await?;
                        continue;
                    }
                }
            } else {
                match self.coming.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            match next {
                Some((place, Some(Ok(delivery)))) => {
                    let queue = &mut self.queues[place];
                    queue.taken = Some(delivery.delivery_tag);
                    let named = delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
                    let message = outgoing(queue.topic, &delivery);
                    messages.push(Incoming { message, place: named.unwrap_or_default() });
                }
                // What was taken comes again to whoever connects next.
                Some((_, Some(Err(error)))) => return Err(error.into()),
                Some((_, None)) | None => return Err(Error::Unsupported("RabbitMQ has ended the queue")),
            }
        }
        Ok(messages)
    }

    async fn done(&mut self) {
        for queue in &mut self.queues {
            if let Some(tag) = queue.taken.take()
                && let Err(error) = queue.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
            {
                // The connection is gone: they come again, and the inbox drops them.
                tracing::debug!(%error, "deliveries are not acknowledged");
            }
        }
    }

    async fn close(self) {
        self.link.close().await;
    }
}
