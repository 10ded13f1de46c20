//! Giving messages to Kafka.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig},
};
use tokio::time::Instant;

use super::{Kafka, PATIENCE, Watch, offload};
use crate::{Error, Message};

pub(super) type Producer = FutureProducer<Watch>;

/// Wait for room in librdkafka's queue.
const FULL: Duration = Duration::from_millis(20);

impl Kafka {
    /// Publishes a batch. On failure Kafka has of each partition the first ones of the batch: nothing times out one by one,
    /// a gap ends the producer, and what was not delivered goes with it.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        tokio::time::timeout_at(deadline, self.topics()).await.map_err(|_| Error::Silent)?;
        let producer = self.current()?;
        let outcome = match tokio::time::timeout_at(deadline, self.deliver(&producer, messages)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Silent),
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
                        tokio::time::sleep(FULL).await;
                    }
                    // What follows must not go before it, so nothing more is sent.
                    Err((error, _)) => return Err(error.into()),
                }
            }
        }
        for delivery in deliveries {
            // Nobody answers when the producer has ended with the messages in it.
            delivery.await.map_err(|_| Error::Stopped)?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// The producer of now.
    pub(super) fn current(&self) -> Result<Arc<Producer>, Error> {
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
            // An error that would leave a gap ends the producer instead.
            .set("enable.gapless.guarantee", "true")
            // A batch fails as a whole, by our own time-out.
            .set("message.timeout.ms", "0");
        let producer: Arc<Producer> = Arc::new(config.create_with_context(Watch::quiet())?);
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Takes a producer out of use with all that it still holds, so that nothing of it follows what is published next.
    /// Others that publish through it fail now, and publish again by the next one.
    async fn discard(&self, producer: Arc<Producer>) {
        {
            let mut slot = self.slot();
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, &producer)) {
                *slot = None;
            }
        }
        let purged = Arc::clone(&producer);
        offload(move || purged.purge(PurgeConfig::default().queue().inflight())).await;
        // Its end waits for its threads; nobody needs to wait for that.
        std::thread::spawn(move || drop(producer));
    }
}
