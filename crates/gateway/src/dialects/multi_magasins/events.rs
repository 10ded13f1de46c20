//! The events of orders, with the wire format of the old event store. They are made of the orders, so that each event has the same
//! id and time wherever it appears.

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use chassis::Json;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Refusal, Shop,
    numbers::Kind,
    orders::{newest, products},
};
use crate::dialects::{
    api_client::ApiResponse,
    model::{Order, SagaState},
};

/// The reason of an order that was cancelled for lack of stock.
pub(super) const SHORT: &str = "not enough stock";
/// The beginning of the reason of an order whose payment was refused.
const UNPAID: &str = "payment refused";

pub(super) const CREATED: &str = "CommandeCreee";
pub(super) const HELD: &str = "StockReserve";
pub(super) const NOT_HELD: &str = "StockInsuffisant";
pub(super) const PAID: &str = "PaiementEffectue";
pub(super) const NOT_PAID: &str = "PaiementRefuse";
/// All types of events.
pub(super) const TYPES: [&str; 5] = [CREATED, HELD, NOT_HELD, PAID, NOT_PAID];

/// An event in the old envelope.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LegacyEvent {
    id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    source: &'static str,
    timestamp: String,
    payload: Value,
}

impl LegacyEvent {
    /// An event; `seed` makes its id.
    pub(super) fn new(kind: &'static str, seed: &str, timestamp: String, payload: Value) -> Self {
        Self { id: id(kind, seed), kind, source: source(kind), timestamp, payload }
    }

    /// The topic of the event.
    pub(super) fn topic(&self) -> &'static str {
        match self.source {
            "commande" => super::consumer::ORDERS,
            "stock" => super::consumer::STOCK,
            _ => super::consumer::PAYMENTS,
        }
    }
}

/// The service of the old fleet that published the event.
fn source(kind: &str) -> &'static str {
    match kind {
        CREATED => "commande",
        HELD | NOT_HELD => "stock",
        _ => "paiement",
    }
}

/// A UUID (version 8) that depends on the event only.
fn id(kind: &str, seed: &str) -> String {
    let hash = digest(&SHA256, format!("{kind}\n{seed}").as_bytes());
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// The types and times of an order's events so far.
fn kinds(order: &Order) -> Vec<(&'static str, String)> {
    let has = |state: SagaState| order.states.iter().any(|reached| reached.state == state);
    let (is_reserved, is_paid) = (has(SagaState::StockReserved), has(SagaState::Paid));
    let reason = order.reason.as_deref().unwrap_or_default();
    let kind = |state: SagaState| match state {
        SagaState::Created => Some(CREATED),
        SagaState::StockReserved => Some(HELD),
        SagaState::Paid => Some(PAID),
        SagaState::Cancelled if !is_reserved && reason == SHORT => Some(NOT_HELD),
        SagaState::Cancelled if is_reserved && !is_paid && reason.starts_with(UNPAID) => Some(NOT_PAID),
        _ => None,
    };
    order.states.iter().filter_map(|reached| Some((kind(reached.state)?, reached.at.clone()))).collect()
}

/// The events of an order so far.
pub(super) async fn of_order(shop: &Shop, order: &Order) -> Result<Vec<LegacyEvent>, ApiResponse> {
    let client = shop.numbers.number_of(&shop.api, Kind::Customers, order.customer_id.as_deref()).await?;
    let products = products(shop, &order.lines).await?;
    let (id, total) = (&order.id, order.total);
    let payload = |kind: &str| match source(kind) {
        "commande" => json!({"commande_id": id, "client_id": client, "produits": products, "montant_total": total}),
        "stock" => json!({"commande_id": id, "produits": products}),
        _ => json!({"commande_id": id, "montant": total}),
    };
    Ok(kinds(order).into_iter().map(|(kind, at)| LegacyEvent::new(kind, id, at, payload(kind))).collect())
}

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<LegacyEvent>>, Refusal> {
    let mut events = Vec::new();
    for order in newest(&shop.api).await? {
        events.extend(of_order(&shop, &order).await?);
    }
    // Times have a fixed width, so that their texts have the same order.
    events.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    Ok(Json(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds_of(states: &[&str], reason: &str) -> Vec<&'static str> {
        let states: Vec<Value> = states.iter().map(|state| json!({"state": state, "at": "t"})).collect();
        let order = serde_json::from_value(json!({"states": states, "reason": reason})).expect("an order");
        super::kinds(&order).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn an_order_tells_what_it_came_to() {
        let all = ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "PAID", "CONFIRMED"];
        assert_eq!(kinds_of(&all, ""), [CREATED, HELD, PAID]);
        assert_eq!(kinds_of(&["CREATED", "STOCK_CHECKED", "CANCELLED"], SHORT), [CREATED, NOT_HELD]);
        let unpaid = ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "CANCELLED"];
        assert_eq!(kinds_of(&unpaid, "payment refused: above the limit"), [CREATED, HELD, NOT_PAID]);
        assert_eq!(kinds_of(&unpaid, "cancelled on request"), [CREATED, HELD]);
        assert_eq!(kinds_of(&["CREATED", "CANCELLED"], "cancelled on request"), [CREATED]);
    }

    #[test]
    fn an_id_follows_from_what_it_names() {
        let one = id(CREATED, "a");
        assert_eq!(one, id(CREATED, "a"));
        assert!(one != id(CREATED, "b") && one != id(HELD, "a"));
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
