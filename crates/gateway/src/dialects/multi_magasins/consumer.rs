//! Publishes events to the old topics, in the old envelope.
//!
//! All events of an order are made from the topic `orders`, so that they have their order and are the same as at `/events/`. The
//! topics `stock` and `payments` are used for reservations and payments without an order.

use bus::{Bus, Event, Failure, Handler, Message, Topology};
use chassis::Context;
use commerce::Timestamp;
use serde_json::json;

use super::{
    Shop,
    events::{self, CREATED, HELD, LegacyEvent, NOT_PAID, PAID},
    orders::products,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    model::{Order, OrderStatus, Payment, Reservation},
};

/// The topic of events of orders.
pub(super) const ORDERS: &str = "commande.events";
/// The topic of events of stock.
pub(super) const STOCK: &str = "stock.events";
/// The topic of events of payments.
pub(super) const PAYMENTS: &str = "paiement.events";

const GROUP: &str = "multi-magasins";
const TOPOLOGY: Topology = Topology {
    topics: &[ORDERS, STOCK, PAYMENTS, "orders", "stock", "payments"],
    groups: &[(GROUP, &["orders", "stock", "payments"])],
};
/// The prefix of ids of reservations and payments without an order.
const OUTSIDE: &str = "legacy:";

/// Starts the translation; it runs until the process stops.
pub(super) async fn start(api: &ApiClient, ctx: &Context) -> anyhow::Result<()> {
    let bus = api.bus(ctx, TOPOLOGY).await?;
    bus.subscribe(ctx, GROUP, Consumer { shop: Shop::new(api), bus: bus.clone() })?;
    Ok(())
}

struct Consumer {
    shop: Shop,
    bus: Bus,
}

impl Handler for Consumer {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut published = Vec::new();
        for event in events {
            let translated = match event.topic.as_str() {
                "orders" => self.of_order(event, &event.data()?).await,
                _ => self.of_outside(event).await?,
            };
            // A failure here is temporary: a service does not answer.
            let translated = translated.map_err(|response| Failure::Later(anyhow::anyhow!("{}", response.status)))?;
            let latency = Timestamp::now().since(event.time);
            published.extend(translated.into_iter().map(|(key, one)| (key, one, latency)));
        }
        let outgoing = published.iter().map(|(key, one, _)| Message {
            topic: one.topic().into(),
            key: key.clone(),
            // Texts and values always serialise.
            payload: serde_json::to_string(one).unwrap_or_default(),
        });
        self.bus.publish(outgoing.collect()).await.map_err(|error| Failure::Later(error.into()))?;
        for (_, one, latency) in &published {
            self.shop.meters.consumed(one.kind, *latency);
            self.shop.meters.emitted(one.kind);
        }
        Ok(())
    }
}

/// Events with the keys of their messages.
type Translated = Result<Vec<(String, LegacyEvent)>, ApiResponse>;

impl Consumer {
    /// The events that an order got since its last event. In the old fleet a sale in a store was no order.
    async fn of_order(&self, event: &Event, order: &Order) -> Translated {
        let is_first = match event.kind.as_str() {
            "souk.order.placed" => true,
            "souk.order.confirmed" => false,
            // The events of a confirmed order are published already.
            "souk.order.cancelled" if order.previous_status == OrderStatus::Pending => false,
            _ => return Ok(Vec::new()),
        };
        if order.channel != "web" {
            return Ok(Vec::new());
        }
        let all = events::of_order(&self.shop, order).await?;
        let new = all.into_iter().filter(|one| (one.kind == CREATED) == is_first);
        Ok(new.map(|one| (event.subject.clone(), one)).collect())
    }

    /// The event of a reservation or payment under an id that a client chose.
    async fn of_outside(&self, event: &Event) -> Result<Translated, Failure> {
        let kind = match event.kind.as_str() {
            "souk.stock.reserved" => HELD,
            "souk.payment.captured" => PAID,
            "souk.payment.refused" => NOT_PAID,
            _ => return Ok(Ok(Vec::new())),
        };
        let Some(id) = event.subject.strip_prefix(OUTSIDE) else { return Ok(Ok(Vec::new())) };
        let payload = if kind == HELD {
            let reservation: Reservation = event.data()?;
            match products(&self.shop, &reservation.lines).await {
                Ok(products) => json!({"commande_id": id, "produits": products}),
                Err(response) => return Ok(Err(response)),
            }
        } else {
            let payment: Payment = event.data()?;
            json!({"commande_id": id, "montant": payment.amount})
        };
        let legacy = LegacyEvent::new(kind, &event.id, event.time.to_string(), payload);
        Ok(Ok(vec![(id.to_owned(), legacy)]))
    }
}
