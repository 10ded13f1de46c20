//! Publishes messages to Kafka.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig},
};
use tokio::time::Instant;

use super::{ClientObserver, Kafka, TIMEOUT, offload};
use crate::{Error, Message};

pub(super) type Producer = FutureProducer<ClientObserver>;

/// Pause while librdkafka's queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(20);

impl Kafka {
    /// Publishes a batch. After a failure each partition has a prefix of the batch: single messages never time out, an error
    /// that would leave a gap is fatal for the producer, and undelivered messages are discarded with it.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Result<(), Error> {
        let deadline = Instant::now() + TIMEOUT;
        tokio::time::timeout_at(deadline, self.wait_for_topics()).await.map_err(|_| Error::TimedOut)?;
        let producer = self.producer()?;
        let outcome = match tokio::time::timeout_at(deadline, self.deliver(&producer, messages)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::TimedOut),
        };
        if outcome.is_err() {
            self.discard(producer).await;
        }
        outcome
    }

    async fn deliver(&self, producer: &Producer, messages: &[Message]) -> Result<(), Error> {
        let mut deliveries = Vec::with_capacity(messages.len());
        for message in messages {
            let topic = self.settings.topic(&message.topic);
            loop {
                let record = FutureRecord::to(&topic).key(&message.key).payload(&message.payload);
                match producer.send_result(record) {
                    Ok(delivery) => {
                        deliveries.push(delivery);
                        break;
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                    }
                    // Later messages must not overtake this one, so nothing more is sent.
                    Err((error, _)) => return Err(error.into()),
                }
            }
        }
        for delivery in deliveries {
            // Cancelled when the producer was dropped with the messages in its queue.
            delivery.await.map_err(|_| Error::Stopped)?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// The current producer, created on first use.
    pub(super) fn producer(&self) -> Result<Arc<Producer>, Error> {
        let mut slot = self.slot();
        if let Some(producer) = &*slot {
            return Ok(Arc::clone(producer));
        }
        let mut config = self.settings.client();
        for (name, default) in [("compression.type", "lz4"), ("partitioner", "murmur2_random")] {
            if config.get(name).is_none() {
                config.set(name, default);
            }
        }
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // An error that would leave a gap is fatal for the producer instead.
            .set("enable.gapless.guarantee", "true")
            // Messages have no time-out of their own: a batch fails as a whole, by `TIMEOUT`.
            .set("message.timeout.ms", "0");
        let producer: Arc<Producer> = Arc::new(config.create_with_context(ClientObserver::silent())?);
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Discards a producer with its undelivered messages, so that none of them is sent after later publications. Concurrent
    /// publications through it fail now, and their callers publish again through the next producer.
    async fn discard(&self, producer: Arc<Producer>) {
        {
            let mut slot = self.slot();
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, &producer)) {
                *slot = None;
            }
        }
        let purged = Arc::clone(&producer);
        offload(move || purged.purge(PurgeConfig::default().queue().inflight())).await;
        // Dropping it waits for its threads, which need not delay the caller.
        std::thread::spawn(move || drop(producer));
    }
}
