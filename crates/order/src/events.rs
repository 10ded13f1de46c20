//! What the order service publishes: events on `orders`, with a sequence for each order; and plain JSON messages for
//! programs without the event envelope, on `new-order` when an order is placed and on `order-processed` when it is confirmed.

use bus::{Message, NewEvent};
use commerce::{CustomerId, OrderId, ProductId, Timestamp};
use serde::Serialize;

use crate::domain::{Order, Return, Status};

const TOPIC: &str = "orders";
/// The topic of placed orders as plain JSON: those of this service, and those of other programs. Also the actor of the latter.
pub(crate) const NEW_ORDER_TOPIC: &str = "new-order";
/// The metadata entry for the user id of another program that is not a customer id.
pub(crate) const EXTERNAL_USER: &str = "user_id";

/// The payload of an event: the order, and what changed.
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

fn data(order: &Order) -> Data<'_> {
    Data { order, previous_status: None, actor: None, returned: None }
}

pub(crate) fn placed(order: &Order) -> NewEvent {
    event("souk.order.placed", order, data(order))
}

pub(crate) fn confirmed(order: &Order) -> NewEvent {
    event("souk.order.confirmed", order, data(order))
}

pub(crate) fn cancelled(order: &Order, previous: Status) -> NewEvent {
    event("souk.order.cancelled", order, Data { previous_status: Some(previous), ..data(order) })
}

pub(crate) fn status_changed(order: &Order, previous: Status, actor: &str) -> NewEvent {
    event(
        "souk.order.status_changed",
        order,
        Data { previous_status: Some(previous), actor: Some(actor), ..data(order) },
    )
}

pub(crate) fn amended(order: &Order, actor: &str) -> NewEvent {
    event("souk.order.amended", order, Data { actor: Some(actor), ..data(order) })
}

pub(crate) fn returned(order: &Order, created: &Return, actor: &str) -> NewEvent {
    event("souk.order.returned", order, Data { returned: Some(created), actor: Some(actor), ..data(order) })
}

/// The origin of the plain messages of this service.
pub(crate) const ORIGIN: &str = "souk";

/// An order on `new-order` and `order-processed`, with the field names of their contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlainOrder<'a> {
    id: &'a OrderId,
    user_id: Option<&'a str>,
    /// The first product and its quantity.
    product_id: Option<&'a ProductId>,
    quantity: u32,
    /// All products, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    products: Vec<PlainProduct<'a>>,
    status: &'static str,
    created_at: Timestamp,
    /// That it is no order of another program.
    origin: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlainProduct<'a> {
    product_id: &'a ProductId,
    quantity: u32,
}

fn plain_message(topic: &str, order: &Order, status: &'static str) -> Message {
    let goods = order.goods_in_line_order();
    // An order with ad-hoc lines only has no product, but a quantity.
    let pieces = || order.lines.iter().fold(0_u32, |sum, line| sum.saturating_add(line.quantity.get()));
    let plain = PlainOrder {
        id: &order.id,
        user_id: order
            .customer_id
            .as_ref()
            .map(CustomerId::as_str)
            .or(order.metadata.get(EXTERNAL_USER).map(String::as_str)),
        product_id: goods.first().map(|(product, _)| *product),
        quantity: goods.first().map_or_else(pieces, |(_, quantity)| *quantity),
        products: if goods.len() > 1 {
            goods.iter().map(|(product_id, quantity)| PlainProduct { product_id, quantity: *quantity }).collect()
        } else {
            Vec::new()
        },
        status,
        created_at: order.created_at,
        origin: ORIGIN,
    };
    // A struct of texts and numbers always serialises.
    let payload = serde_json::to_string(&plain).unwrap_or_default();
    Message { topic: topic.into(), key: order.id.to_string(), payload }
}

/// The message of a placed order; `None` for one that came from `new-order` itself.
pub(crate) fn placed_message(order: &Order) -> Option<Message> {
    let is_external = order.history.first().is_some_and(|change| change.actor.as_deref() == Some(NEW_ORDER_TOPIC));
    (!is_external).then(|| plain_message(NEW_ORDER_TOPIC, order, "pending"))
}

/// The message of a confirmed order.
pub(crate) fn confirmed_message(order: &Order) -> Message {
    plain_message("order-processed", order, "processed")
}
