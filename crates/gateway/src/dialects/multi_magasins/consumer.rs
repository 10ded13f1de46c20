//! The old topics, told in the old envelope as things happen.
//!
//! Of orders the topic `orders` tells all, stock and money too, each with its time; so a listener hears of an order in its order,
//! and the same as `/events/` says. The topics `stock` and `payments` are for what is done apart from orders.

use bus::{Bus, Event, Failure, Handler, Message, Topology};
use chassis::Context;
use commerce::Timestamp;
use serde_json::{Value, json};

use super::{
    Shop,
    events::{self, CREATED, HELD, LegacyEvent, NOT_PAID, PAID},
    numbers::Kind,
};
use crate::dialects::api_client::{ApiClient, ApiResponse};

/// Where what happens with orders is told.
pub(super) const ORDERS: &str = "commande.events";
/// With stock.
pub(super) const STOCK: &str = "stock.events";
/// With money.
pub(super) const PAYMENTS: &str = "paiement.events";

const GROUP: &str = "multi-magasins";
const TOPOLOGY: Topology = Topology {
    topics: &[ORDERS, STOCK, PAYMENTS, "orders", "stock", "payments"],
    groups: &[(GROUP, &["orders", "stock", "payments"])],
};
/// Begins the ids of what is of no order of the house.
const OUTSIDE: &str = "legacy:";

/// Translates until the process stops.
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
        let mut told = Vec::new();
        for event in events {
            let data: Value = event.data()?;
            let translated = match event.topic.as_str() {
                "orders" => self.of_order(event, &data).await,
                _ => self.of_outside(event, &data).await,
            };
            // Nothing here can be wrong for good: the house does not answer now.
            let translated = translated.map_err(|response| Failure::Later(anyhow::anyhow!("{}", response.status)))?;
            let latency = Timestamp::now().since(event.time);
            told.extend(translated.into_iter().map(|(key, one)| (key, one, latency)));
        }
        let outgoing = told.iter().map(|(key, one, _)| Message {
            topic: one.topic().into(),
            key: key.clone(),
            // Texts and values always serialise.
            payload: serde_json::to_string(one).unwrap_or_default(),
        });
        self.bus.publish(outgoing.collect()).await.map_err(|error| Failure::Later(error.into()))?;
        for (_, one, latency) in &told {
            self.shop.meters.consumed(one.kind, *latency);
            self.shop.meters.emitted(one.kind);
        }
        Ok(())
    }
}

impl Consumer {
    /// What an event of an order tells that the ones before it did not. Sales at tills were no orders.
    async fn of_order(&self, event: &Event, order: &Value) -> Result<Vec<(String, LegacyEvent)>, ApiResponse> {
        let is_first = match event.kind.as_str() {
            "souk.order.placed" => true,
            "souk.order.confirmed" => false,
            // An order that was confirmed has told everything already.
            "souk.order.cancelled" if order["previous_status"] == "pending" => false,
            _ => return Ok(Vec::new()),
        };
        if order["channel"] != "web" {
            return Ok(Vec::new());
        }
        let told = events::of_order(&self.shop, order).await?;
        let new = told.into_iter().filter(|one| (one.kind == CREATED) == is_first);
        Ok(new.map(|one| (event.subject.clone(), one)).collect())
    }

    /// What was set aside or paid under an id of a client's own.
    async fn of_outside(&self, event: &Event, data: &Value) -> Result<Vec<(String, LegacyEvent)>, ApiResponse> {
        let kind = match event.kind.as_str() {
            "souk.stock.reserved" => HELD,
            "souk.payment.captured" => PAID,
            "souk.payment.refused" => NOT_PAID,
            _ => return Ok(Vec::new()),
        };
        let Some(id) = event.subject.strip_prefix(OUTSIDE) else { return Ok(Vec::new()) };
        let payload = if kind == HELD {
            let mut products = Vec::new();
            for line in data["lines"].as_array().into_iter().flatten() {
                let number = self.shop.numbers.render(&self.shop.api, Kind::Products, &line["product_id"]).await?;
                products.push(json!({"id": number, "quantite": line["quantity"]}));
            }
            json!({"commande_id": id, "produits": products})
        } else {
            json!({"commande_id": id, "montant": data["amount"]})
        };
        Ok(vec![(id.to_owned(), LegacyEvent::new(kind, &event.id, json!(event.time), payload))])
    }
}
