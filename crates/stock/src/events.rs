//! What this service tells and hears. Topic `stock`: reserved, released, sold and restocked by order, adjusted
//! and low by product and place. From topic `orders` it hears what becomes of orders.

use std::collections::BTreeMap;

use bus::NewEvent;
use commerce::{OrderId, PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::{DomainEvent, Level, Replenishment, ReplenishmentStage, Reservation, StockKey};

/// The topic of what it tells.
pub(crate) const TOPIC: &str = "stock";

#[derive(Serialize)]
struct ReservationBody<'a> {
    order_id: &'a OrderId,
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<&'a PlaceId>,
    /// held, committed or released.
    state: &'a str,
    lines: Vec<LineBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restocked: Vec<QuantityBody<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct LineBody<'a> {
    product_id: &'a ProductId,
    quantity: i64,
    restocked: i64,
}

#[derive(Serialize)]
struct QuantityBody<'a> {
    product_id: &'a ProductId,
    quantity: i64,
}

#[derive(Serialize)]
struct LevelBody<'a> {
    product_id: &'a ProductId,
    place_id: &'a PlaceId,
    on_hand: i64,
    reserved: i64,
    available: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjustment: Option<AdjustmentBody<'a>>,
}

#[derive(Serialize)]
struct AdjustmentBody<'a> {
    id: &'a str,
    delta: i64,
    reason: &'a str,
    actor: &'a str,
    at: Timestamp,
}

/// The event that tells it.
pub(crate) fn event(told: &DomainEvent) -> NewEvent {
    match told {
        DomainEvent::Reserved(reservation) => of_order("souk.stock.reserved", reservation, &[], ""),
        DomainEvent::Released(reservation) => of_order("souk.stock.released", reservation, &[], ""),
        DomainEvent::Sold(reservation) => of_order("souk.stock.sold", reservation, &[], ""),
        DomainEvent::Restocked(reservation, back, reason) => {
            of_order("souk.stock.restocked", reservation, back, reason)
        }
        DomainEvent::Low(key, level) => of_level("souk.stock.low", key, level, None),
        DomainEvent::Adjusted(level, adjustment) => {
            let request = &adjustment.request;
            let body = AdjustmentBody {
                id: &request.id,
                delta: request.delta,
                reason: &request.reason,
                actor: &request.actor,
                at: adjustment.at,
            };
            of_level("souk.stock.adjusted", &request.key, level, Some(body))
        }
    }
}

fn of_order(kind: &'static str, reservation: &Reservation, back: &[(ProductId, i64)], reason: &str) -> NewEvent {
    let lines = reservation.lines.iter().map(|(product_id, line)| LineBody {
        product_id,
        quantity: line.quantity,
        restocked: line.restocked,
    });
    let body = ReservationBody {
        order_id: &reservation.order_id,
        place_id: reservation.place_id.as_ref(),
        state: reservation.state.as_str(),
        lines: lines.collect(),
        restocked: back.iter().map(|(product_id, quantity)| QuantityBody { product_id, quantity: *quantity }).collect(),
        reason,
        updated_at: reservation.updated_at,
    };
    NewEvent::new(TOPIC, kind, reservation.order_id.as_str(), reservation.sequence, &body)
}

fn of_level(kind: &'static str, key: &StockKey, level: &Level, adjustment: Option<AdjustmentBody<'_>>) -> NewEvent {
    let body = LevelBody {
        product_id: &key.product_id,
        place_id: &key.place_id,
        on_hand: level.on_hand,
        reserved: level.reserved,
        available: level.available(),
        threshold: level.threshold,
        adjustment,
    };
    // A slash is in no id, so that no order has the subject of a level.
    let subject = format!("{}/{}", key.place_id, key.product_id);
    NewEvent::new(TOPIC, kind, subject, level.sequence, &body)
}

#[derive(Serialize)]
struct ReplenishmentBody<'a> {
    id: &'a str,
    number: i64,
    product_id: &'a ProductId,
    from_place_id: &'a PlaceId,
    place_id: &'a PlaceId,
    quantity: i64,
    stage: ReplenishmentStage,
    shipped: i64,
    received: i64,
    in_transit: i64,
    difference: i64,
    automatic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    actor: &'a str,
    at: Timestamp,
}

/// The event that tells how a replenishment stands.
pub(crate) fn replenishment(one: &Replenishment) -> NewEvent {
    let kind = match one.stage {
        ReplenishmentStage::Requested => "souk.replenishment.requested",
        ReplenishmentStage::Approved => "souk.replenishment.approved",
        ReplenishmentStage::Refused => "souk.replenishment.refused",
        ReplenishmentStage::InTransit if one.received == 0 => "souk.replenishment.sent",
        ReplenishmentStage::InTransit => "souk.replenishment.partly_received",
        ReplenishmentStage::Received => "souk.replenishment.received",
    };
    let body = ReplenishmentBody {
        id: &one.id,
        number: one.number,
        product_id: &one.product_id,
        from_place_id: &one.from,
        place_id: &one.to,
        quantity: one.quantity,
        stage: one.stage,
        shipped: one.shipped,
        received: one.received,
        in_transit: one.in_transit(),
        difference: one.difference(),
        automatic: one.automatic,
        reason: one.reason.as_deref(),
        actor: one.history.last().map_or("", |step| step.actor.as_str()),
        at: one.updated_at,
    };
    // A slash is in no id, so that neither an order nor a level has the subject of a replenishment.
    NewEvent::new(TOPIC, kind, format!("replenishment/{}", one.id), one.sequence, &body)
}

/// What stock needs of an order's event; the rest is passed over.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct OrderData {
    #[serde(default)]
    pub(crate) lines: Vec<OrderLine>,
    #[serde(default, rename = "return")]
    pub(crate) returned: Option<ReturnData>,
}

/// A line of an order; without a product it is no business of stock.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OrderLine {
    #[serde(default)]
    pub(crate) product_id: Option<ProductId>,
}

/// What came back.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ReturnData {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) lines: Vec<ReturnLine>,
    #[serde(default = "yes")]
    pub(crate) restock: bool,
}

/// A product that came back.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ReturnLine {
    #[serde(default)]
    pub(crate) product_id: Option<ProductId>,
    pub(crate) quantity: i64,
}

impl ReturnData {
    /// Pieces by product, of the lines that are of a product.
    pub(crate) fn by_product(&self) -> BTreeMap<ProductId, i64> {
        let mut pieces = BTreeMap::new();
        for line in &self.lines {
            if let Some(product_id) = line.product_id.clone().filter(|_| line.quantity > 0) {
                *pieces.entry(product_id).or_insert(0) += line.quantity;
            }
        }
        pieces
    }
}

const fn yes() -> bool {
    true
}
