//! The events that this service publishes and consumes. It publishes to topic `stock`: reserved, released, sold and restocked
//! by order, adjusted and low by product and place, and the stages of replenishments. It consumes topic `orders`.

use std::collections::BTreeMap;

use bus::NewEvent;
use commerce::{OrderId, PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::{DomainEvent, Level, Replenishment, ReplenishmentStage, Reservation, StockKey};

/// The topic that this service publishes to.
pub(crate) const TOPIC: &str = "stock";

/// The payload about the stock of an order.
#[derive(Serialize)]
pub(crate) struct ReservationBody<'a> {
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

/// The message of a domain event.
pub(crate) fn event(event: &DomainEvent) -> NewEvent {
    match event {
        DomainEvent::Reserved(reservation) => of_order("souk.stock.reserved", event, reservation, &[], ""),
        DomainEvent::Released(reservation) => of_order("souk.stock.released", event, reservation, &[], ""),
        DomainEvent::Sold(reservation) => of_order("souk.stock.sold", event, reservation, &[], ""),
        DomainEvent::Restocked { reservation, lines, reason } => {
            of_order("souk.stock.restocked", event, reservation, lines, reason)
        }
        DomainEvent::Low { key, level } => of_level("souk.stock.low", event, key, level, None),
        DomainEvent::Adjusted { level, adjustment } => {
            let request = &adjustment.request;
            let body = AdjustmentBody {
                id: &request.id,
                delta: request.delta,
                reason: &request.reason,
                actor: &request.actor,
                at: adjustment.at,
            };
            of_level("souk.stock.adjusted", event, &request.key, level, Some(body))
        }
    }
}

fn of_order(
    kind: &'static str,
    event: &DomainEvent,
    reservation: &Reservation,
    restocked: &[(ProductId, i64)],
    reason: &str,
) -> NewEvent {
    let restocked = restocked.iter().map(|(product_id, quantity)| QuantityBody { product_id, quantity: *quantity });
    let body = ReservationBody { restocked: restocked.collect(), reason, ..ReservationBody::from(reservation) };
    NewEvent::new(TOPIC, kind, event.subject(), event.sequence(), &body)
}

impl<'a> From<&'a Reservation> for ReservationBody<'a> {
    fn from(reservation: &'a Reservation) -> Self {
        let lines = reservation.lines.iter().map(|(product_id, line)| LineBody {
            product_id,
            quantity: line.quantity,
            restocked: line.restocked,
        });
        Self {
            order_id: &reservation.order_id,
            place_id: reservation.place_id.as_ref(),
            state: reservation.state.as_str(),
            lines: lines.collect(),
            restocked: Vec::new(),
            reason: "",
            updated_at: reservation.updated_at,
        }
    }
}

fn of_level(
    kind: &'static str,
    event: &DomainEvent,
    key: &StockKey,
    level: &Level,
    adjustment: Option<AdjustmentBody<'_>>,
) -> NewEvent {
    let body = LevelBody {
        product_id: &key.product_id,
        place_id: &key.place_id,
        on_hand: level.on_hand,
        reserved: level.reserved,
        available: level.available(),
        threshold: level.threshold,
        adjustment,
    };
    NewEvent::new(TOPIC, kind, event.subject(), event.sequence(), &body)
}

/// The payload about a replenishment.
#[derive(Serialize)]
pub(crate) struct ReplenishmentBody<'a> {
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

/// The event of the stage that a replenishment has reached.
pub(crate) fn replenishment(replenishment: &Replenishment) -> NewEvent {
    let kind = match replenishment.stage {
        ReplenishmentStage::Requested => "souk.replenishment.requested",
        ReplenishmentStage::Approved => "souk.replenishment.approved",
        ReplenishmentStage::Refused => "souk.replenishment.refused",
        ReplenishmentStage::InTransit if replenishment.received == 0 => "souk.replenishment.sent",
        ReplenishmentStage::InTransit => "souk.replenishment.partly_received",
        ReplenishmentStage::Received => "souk.replenishment.received",
    };
    let subject = replenishment_subject(&replenishment.id);
    NewEvent::new(TOPIC, kind, subject, replenishment.sequence, &ReplenishmentBody::from(replenishment))
}

/// The subject of a replenishment's events. Neither an order nor a level has it, as an id contains no slash.
pub(crate) fn replenishment_subject(id: &str) -> String {
    format!("replenishment/{id}")
}

impl<'a> From<&'a Replenishment> for ReplenishmentBody<'a> {
    fn from(replenishment: &'a Replenishment) -> Self {
        Self {
            id: &replenishment.id,
            number: replenishment.number,
            product_id: &replenishment.product_id,
            from_place_id: &replenishment.from,
            place_id: &replenishment.to,
            quantity: replenishment.quantity,
            stage: replenishment.stage,
            shipped: replenishment.shipped,
            received: replenishment.received,
            in_transit: replenishment.in_transit(),
            difference: replenishment.difference(),
            automatic: replenishment.automatic,
            reason: replenishment.reason.as_deref(),
            actor: replenishment.history.last().map_or("", |step| step.actor.as_str()),
            at: replenishment.updated_at,
        }
    }
}
/// The members of an order event that stock needs; other members are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct OrderData {
    #[serde(default)]
    pub(crate) lines: Option<Vec<OrderLine>>,
    #[serde(default, rename = "return")]
    pub(crate) returned: Option<ReturnData>,
}

/// A line of an order. Stock ignores lines without a product.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OrderLine {
    #[serde(default)]
    pub(crate) product_id: Option<ProductId>,
}

/// A return.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ReturnData {
    pub(crate) id: String,
    pub(crate) lines: Vec<ReturnLine>,
    #[serde(default = "default_restock")]
    pub(crate) restock: bool,
}

/// A line of a return.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ReturnLine {
    #[serde(default)]
    pub(crate) product_id: Option<ProductId>,
    pub(crate) quantity: i64,
}

impl ReturnData {
    /// The returned pieces by product; lines without a product are ignored.
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

const fn default_restock() -> bool {
    true
}
