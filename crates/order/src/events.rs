//! What the order service publishes: topic `orders`, one sequence an order.

use bus::NewEvent;
use serde::Serialize;

use crate::domain::{Order, Return, Status};

const TOPIC: &str = "orders";

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

pub(crate) fn returned(order: &Order, made: &Return, actor: &str) -> NewEvent {
    let data = Data { returned: Some(made), actor: Some(actor), ..plain(order) };
    event("souk.order.returned", order, data)
}
