//! What happened with orders, as the old event store told it: made of the orders themselves, so that an event has the same id
//! and time wherever and however often it is told.

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
use crate::dialects::api_client::ApiResponse;

/// What the house says of an order that was cancelled for want of goods.
pub(super) const SHORT: &str = "not enough stock";
/// What it begins with where the money was refused.
const UNPAID: &str = "payment refused";

pub(super) const CREATED: &str = "CommandeCreee";
pub(super) const HELD: &str = "StockReserve";
pub(super) const NOT_HELD: &str = "StockInsuffisant";
pub(super) const PAID: &str = "PaiementEffectue";
pub(super) const NOT_PAID: &str = "PaiementRefuse";
/// All types that there are.
pub(super) const TYPES: [&str; 5] = [CREATED, HELD, NOT_HELD, PAID, NOT_PAID];

/// An event in the old envelope.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LegacyEvent {
    id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    source: &'static str,
    timestamp: Value,
    payload: Value,
}

impl LegacyEvent {
    /// An event; `seed` makes its id.
    pub(super) fn new(kind: &'static str, seed: &str, timestamp: Value, payload: Value) -> Self {
        Self { id: id(kind, seed), kind, source: source(kind), timestamp, payload }
    }

    /// Where it is published.
    pub(super) fn topic(&self) -> &'static str {
        match self.source {
            "commande" => super::consumer::ORDERS,
            "stock" => super::consumer::STOCK,
            _ => super::consumer::PAYMENTS,
        }
    }
}

/// Whose event it is.
fn source(kind: &str) -> &'static str {
    match kind {
        CREATED => "commande",
        HELD | NOT_HELD => "stock",
        _ => "paiement",
    }
}

/// A UUID (version 8) that follows from what it names.
fn id(kind: &str, seed: &str) -> String {
    let hash = digest(&SHA256, format!("{kind}\n{seed}").as_bytes());
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// The events of an order so far: which, and when.
fn happened(order: &Value) -> Vec<(&'static str, Value)> {
    let reached: Vec<&Value> = order["states"].as_array().into_iter().flatten().collect();
    let has = |state: &str| reached.iter().any(|reached| reached["state"] == state);
    let reason = order["reason"].as_str().unwrap_or_default();
    let kind = |state: &Value| match state.as_str()? {
        "CREATED" => Some(CREATED),
        "STOCK_RESERVED" => Some(HELD),
        "PAID" => Some(PAID),
        "CANCELLED" if !has("STOCK_RESERVED") && reason == SHORT => Some(NOT_HELD),
        "CANCELLED" if has("STOCK_RESERVED") && !has("PAID") && reason.starts_with(UNPAID) => Some(NOT_PAID),
        _ => None,
    };
    reached.iter().filter_map(|at| Some((kind(&at["state"])?, at["at"].clone()))).collect()
}

/// The same in the old envelope.
pub(super) async fn of_order(shop: &Shop, order: &Value) -> Result<Vec<LegacyEvent>, ApiResponse> {
    let client = shop.numbers.render(&shop.api, Kind::Customers, &order["customer_id"]).await?;
    let products = products(shop, order).await?;
    let (id, total) = (&order["id"], &order["total"]);
    let payload = |kind: &str| match source(kind) {
        "commande" => json!({"commande_id": id, "client_id": client, "produits": products, "montant_total": total}),
        "stock" => json!({"commande_id": id, "produits": products}),
        _ => json!({"commande_id": id, "montant": total}),
    };
    let seed = id.as_str().unwrap_or_default();
    Ok(happened(order).into_iter().map(|(kind, at)| LegacyEvent::new(kind, seed, at, payload(kind))).collect())
}

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<LegacyEvent>>, Refusal> {
    let mut told = Vec::new();
    for order in newest(&shop.api).await? {
        told.extend(of_order(&shop, &order).await?);
    }
    // Times are written so that their order is that of their letters.
    told.sort_by(|a, b| a.timestamp.as_str().cmp(&b.timestamp.as_str()));
    Ok(Json(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(states: &[&str], reason: &str) -> Vec<&'static str> {
        let states: Vec<Value> = states.iter().map(|state| json!({"state": state, "at": "t"})).collect();
        happened(&json!({"states": states, "reason": reason})).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn an_order_tells_what_it_came_to() {
        let all = ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "PAID", "CONFIRMED"];
        assert_eq!(kinds(&all, ""), [CREATED, HELD, PAID]);
        assert_eq!(kinds(&["CREATED", "STOCK_CHECKED", "CANCELLED"], SHORT), [CREATED, NOT_HELD]);
        let unpaid = ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "CANCELLED"];
        assert_eq!(kinds(&unpaid, "payment refused: above the limit"), [CREATED, HELD, NOT_PAID]);
        assert_eq!(kinds(&unpaid, "cancelled on request"), [CREATED, HELD]);
        assert_eq!(kinds(&["CREATED", "CANCELLED"], "cancelled on request"), [CREATED]);
    }

    #[test]
    fn an_id_follows_from_what_it_names() {
        let one = id(CREATED, "a");
        assert_eq!(one, id(CREATED, "a"));
        assert!(one != id(CREATED, "b") && one != id(HELD, "a"));
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
