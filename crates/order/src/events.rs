//! What the order service publishes: events on `orders`, one sequence an order; and for listeners that know no events
//! the plain JSON of an order, on `new-order` when it is placed and on `order-processed` when it is confirmed.

use bus::{Message, NewEvent};
use commerce::{CustomerId, OrderId, ProductId, Timestamp};
use serde::Serialize;

use crate::domain::{Order, Return, Status};

const TOPIC: &str = "orders";
/// The topic on which orders stand as plain JSON when they are placed: our own, and those of other programs. Also the actor of
/// the latter.
pub(crate) const NEW_ORDERS: &str = "new-order";
/// Where the buyer's id is kept if it is none of a customer.
pub(crate) const BUYER: &str = "user_id";

/// The order's public shape, plus what changed.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    order: &'a Order,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(rename = "return", skip_serializing_if = "Option::is_none")]
    returned: Option<&'a Return>,
}

fn event(kind: &'static str, order: &Order, data: Data<'_>) -> NewEvent {
    NewEvent::new(TOPIC, kind, order.id.as_str(), order.sequence, &data)
}

fn plain(order: &Order) -> Data<'_> {
    Data { order, previous_status: None, actor: None, returned: None }
}

pub(crate) fn placed(order: &Order) -> NewEvent {
    event("souk.order.placed", order, plain(order))
}

pub(crate) fn confirmed(order: &Order) -> NewEvent {
    event("souk.order.confirmed", order, plain(order))
}

pub(crate) fn cancelled(order: &Order, previous: Status) -> NewEvent {
    event("souk.order.cancelled", order, Data { previous_status: Some(previous), ..plain(order) })
}

pub(crate) fn status_changed(order: &Order, previous: Status, actor: &str) -> NewEvent {
    let data = Data { previous_status: Some(previous), actor: Some(actor), ..plain(order) };
    event("souk.order.status_changed", order, data)
}

pub(crate) fn amended(order: &Order, actor: &str) -> NewEvent {
    event("souk.order.amended", order, Data { actor: Some(actor), ..plain(order) })
}

pub(crate) fn returned(order: &Order, made: &Return, actor: &str) -> NewEvent {
    let data = Data { returned: Some(made), actor: Some(actor), ..plain(order) };
    event("souk.order.returned", order, data)
}

/// An order as `new-order` and `order-processed` tell it. The names are those that their listeners know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plain<'a> {
    id: &'a OrderId,
    user_id: Option<&'a str>,
    /// The first product, and how many of it.
    product_id: Option<&'a ProductId>,
    quantity: u32,
    /// All of them, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    products: Vec<PlainProduct<'a>>,
    status: &'static str,
    created_at: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlainProduct<'a> {
    product_id: &'a ProductId,
    quantity: u32,
}

fn outgoing(topic: &str, order: &Order, status: &'static str) -> Message {
    let goods = order.goods_as_bought();
    // Who buys only what the catalogue does not hold still buys so many pieces.
    let pieces = || order.lines.iter().fold(0_u32, |sum, line| sum.saturating_add(line.quantity.get()));
    let plain = Plain {
        id: &order.id,
        user_id: order.customer_id.as_ref().map(CustomerId::as_str).or(order.metadata.get(BUYER).map(String::as_str)),
        product_id: goods.first().map(|(product, _)| *product),
        quantity: goods.first().map_or_else(pieces, |(_, quantity)| *quantity),
        products: if goods.len() > 1 {
            goods.iter().map(|(product_id, quantity)| PlainProduct { product_id, quantity: *quantity }).collect()
        } else {
            Vec::new()
        },
        status,
        created_at: order.created_at,
    };
    // A struct of texts and numbers always serialises.
    let payload = serde_json::to_string(&plain).unwrap_or_default();
    Message { topic: topic.into(), key: order.id.to_string(), payload }
}

/// Nothing of an order that another program put there: whoever listens has heard of it.
pub(crate) fn placed_plainly(order: &Order) -> Option<Message> {
    let is_heard = order.history.first().is_some_and(|moved| moved.actor.as_deref() == Some(NEW_ORDERS));
    (!is_heard).then(|| outgoing(NEW_ORDERS, order, "pending"))
}

pub(crate) fn confirmed_plainly(order: &Order) -> Message {
    outgoing("order-processed", order, "processed")
}
