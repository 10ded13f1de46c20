//! The exchanges of the fleet on RabbitMQ.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use chassis::Context;
use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use serde_json::Value;
use tokio::sync::Mutex;

pub(super) const ORDERS: &str = "order_notifications";
pub(super) const STOCK: &str = "stock_update";
pub(super) const DELETION: &str = "client_deletion_exchange";
/// The consumed queues with their exchanges. They are not shared with other programs, which would lose messages.
const QUEUES: [(&str, &str); 2] = [("souk_stock_update", STOCK), ("souk_client_deletion", DELETION)];
/// The `app_id` of published messages, so that they are not consumed again.
const APP: &str = "souk";
/// The timeout of a call to the broker.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts to reach the broker.
const PAUSE: Duration = Duration::from_secs(1);
const PERSISTENT: u8 = 2;

/// A message to be published.
#[derive(Debug)]
pub(super) struct OutgoingMessage {
    pub(super) exchange: &'static str,
    /// The message id, by which consumers recognise a repeat.
    pub(super) id: String,
    pub(super) body: Value,
}

/// A message from another program.
#[derive(Debug)]
pub(super) struct IncomingMessage {
    pub(super) exchange: &'static str,
    pub(super) id: Option<String>,
    pub(super) body: Value,
}

/// A client of the broker. Cheap to clone.
#[derive(Clone)]
pub(super) struct Amqp {
    url: Arc<str>,
    publisher: Arc<Mutex<Option<(Connection, Channel)>>>,
}

impl Amqp {
    /// A client for this URL. It connects when it is first used.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        ensure!(url.starts_with("amqp://") || url.starts_with("amqps://"), "ms_client_amqp is no amqp:// URL");
        Ok(Self { url: url.into(), publisher: Arc::default() })
    }

    /// Publishes messages in their order and waits for the broker's confirmation.
    pub(super) async fn publish(&self, messages: &[OutgoingMessage]) -> anyhow::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut publisher = self.publisher.lock().await;
        let published = tokio::time::timeout(TIMEOUT, async {
            if publisher.as_ref().is_none_or(|(_, channel)| !channel.status().connected()) {
                *publisher = Some(self.open().await?);
            }
            let (_, channel) = publisher.as_ref().context("a channel")?;
            for message in messages {
                let properties = BasicProperties::default()
                    .with_content_type("application/json".into())
                    .with_app_id(APP.into())
                    .with_message_id(message.id.as_str().into())
                    .with_delivery_mode(PERSISTENT);
                let body = message.body.to_string();
                let sent = channel
                    .basic_publish(
                        message.exchange.into(),
                        "".into(),
                        BasicPublishOptions::default(),
                        body.as_bytes(),
                        properties,
                    )
                    .await?
                    .await?;
                ensure!(!sent.is_nack(), "the broker refused a message for {}", message.exchange);
            }
            Ok(())
        });
        let published = published.await.map_err(anyhow::Error::from).and_then(|published| published);
        if published.is_err() {
            *publisher = None;
        }
        published
    }

    /// Connects and declares the exchanges in the same way as the old fleet's programs.
    async fn open(&self) -> anyhow::Result<(Connection, Channel)> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let mut channel = connection.create_channel().await?;
        for exchange in [ORDERS, STOCK, DELETION] {
            let declared = channel
                .exchange_declare(
                    exchange.into(),
                    ExchangeKind::Fanout,
                    ExchangeDeclareOptions::default(),
                    FieldTable::default(),
                )
                .await;
            if declared.is_err() {
                // The exchange exists with other properties, which does not matter, but the broker has closed the channel.
                channel = connection.create_channel().await?;
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, passive, FieldTable::default()).await?;
            }
        }
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok((connection, channel))
    }

    /// Passes messages of other programs to `handle_message`, each at least once, until the process stops. While the broker is unreachable, it
    /// reconnects; the log has one warning.
    pub(super) async fn listen<F, Fut>(self, ctx: Context, handle_message: F)
    where
        F: Fn(IncomingMessage) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        let mut was_down = false;
        loop {
            let ended = tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                ended = self.consume(&handle_message, &mut was_down) => ended,
            };
            if let (Err(error), false) = (ended, was_down) {
                tracing::warn!(%error, "RabbitMQ is unreachable; messages of the older fleet's programs wait");
                was_down = true;
            }
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn consume<F, Fut>(&self, handle_message: &F, was_down: &mut bool) -> anyhow::Result<()>
    where
        F: Fn(IncomingMessage) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        let (_connection, channel) = tokio::time::timeout(TIMEOUT, self.open()).await??;
        channel.basic_qos(16, BasicQosOptions::default()).await?;
        let mut deliveries = Vec::new();
        for (queue, exchange) in QUEUES {
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.into(), durable, FieldTable::default()).await?;
            let bind = QueueBindOptions::default();
            channel.queue_bind(queue.into(), exchange.into(), "".into(), bind, FieldTable::default()).await?;
            let consumer = channel
                .basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await?;
            deliveries.push(consumer.map(move |delivery| (exchange, delivery)).boxed());
        }
        if std::mem::take(was_down) {
            tracing::info!("RabbitMQ is reachable again");
        }
        let mut deliveries = futures::stream::select_all(deliveries);
        while let Some((exchange, delivery)) = deliveries.next().await {
            let delivery = delivery?;
            match read(exchange, &delivery) {
                Some(message) => match handle_message(message).await {
                    Ok(()) => delivery.ack(BasicAckOptions::default()).await?,
                    Err(error) => {
                        tracing::debug!(%error, "could not handle a message of the older fleet; it will be delivered again");
                        tokio::time::sleep(PAUSE).await;
                        delivery.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?
                    }
                },
                None => delivery.ack(BasicAckOptions::default()).await?,
            };
        }
        anyhow::bail!("the connection has ended")
    }
}

/// Reads a message; `None` for one that this program published, or that is no JSON.
fn read(exchange: &'static str, delivery: &Delivery) -> Option<IncomingMessage> {
    if delivery.properties.app_id().as_ref().is_some_and(|app| app.as_str() == APP) {
        return None;
    }
    match serde_json::from_slice(&delivery.data) {
        Ok(body) => {
            let id = delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
            Some(IncomingMessage { exchange, id: id.filter(|id| !id.is_empty()), body })
        }
        Err(error) => {
            tracing::warn!(exchange, %error, "ignored a message that is no JSON");
            None
        }
    }
}
