//! Orders. A request is answered before the checkout ends, and does not need the broker.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use commerce::OrderId;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Quartet, failure, refusal};
use crate::dialects::{
    lists,
    model::{Customer, Order, OrderLine, OrderStatus},
    orders,
    routes::AnyJson,
    values::{text, whole},
};

/// The metadata entry for a buyer's id that is no customer's.
const BUYER: &str = "user_id";
/// The age of an unpublished message from which on the broker is taken for unavailable.
const BROKER_LAG_SECONDS: i64 = 2;

pub(super) async fn place(State(quartet): State<Quartet>, AnyJson(body): AnyJson) -> Response {
    let Some(user) = text(&body["userId"]) else {
        return refusal(StatusCode::BAD_REQUEST, "userId manquant");
    };
    let one = [body.clone()];
    let products = body["products"].as_array().map_or(&one[..], Vec::as_slice);
    let mut lines = Vec::with_capacity(products.len());
    for product in products {
        let (Some(product_id), Some(quantity)) = (text(&product["productId"]), whole(&product["quantity"])) else {
            return refusal(StatusCode::BAD_REQUEST, "productId ou quantity manquant");
        };
        lines.push(json!({"product_id": product_id, "quantity": quantity}));
    }
    let id = OrderId::new();
    let mut order = json!({"id": id, "lines": lines});
    let customer = quartet.api.get(&["api", "customers", &user]).send().await;
    match customer.ok::<Customer>() {
        Ok(customer) if !customer.is_anonymised() => order["customer_id"] = user.into(),
        Err(response) if response.status.is_server_error() => return failure(&response),
        // The old fleet accepted any id.
        _ => order["metadata"] = json!({ BUYER: user }),
    }
    let request = || quartet.api.post(&["api", "orders"]).json(&order).respond_async();
    match orders::place(&quartet.api, &id, request).await {
        Ok(()) => {
            let mut response = json!({
                "success": true,
                "message": "Commande créée et envoyée pour traitement",
                "orderId": id,
            });
            if is_broker_unavailable(&quartet).await {
                response["warning"] = "Kafka indisponible, la commande sera traitée ultérieurement".into();
            }
            (StatusCode::CREATED, Json(response)).into_response()
        }
        Err(response) => failure(&response),
    }
}

/// The readiness of the order service.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Readiness {
    facts: ReadinessFacts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadinessFacts {
    /// The age of the oldest event that was not published.
    unpublished_seconds: Option<i64>,
}

/// Whether events of the order service wait for the broker.
async fn is_broker_unavailable(quartet: &Quartet) -> bool {
    let ready = quartet.api.get(&["ready"]).to(&quartet.api.gateway.order).send().await;
    // A service that is not ready has a readiness body, too.
    let readiness: Readiness = serde_json::from_value(ready.body).unwrap_or_default();
    readiness.facts.unpublished_seconds.is_some_and(|seconds| seconds >= BROKER_LAG_SECONDS)
}

pub(super) async fn list(State(quartet): State<Quartet>) -> Response {
    match lists::all_oldest_first(|| quartet.api.get(&["api", "orders"])).await {
        Ok(orders) => Json(orders.iter().map(render).collect::<Vec<_>>()).into_response(),
        Err(response) => failure(&response),
    }
}

pub(super) async fn one(State(quartet): State<Quartet>, Path(id): Path<String>) -> Response {
    match orders::get(&quartet.api, &id).await {
        Ok(order) => Json(render(&order)).into_response(),
        Err(response) if response.is_not_found() => refusal(StatusCode::NOT_FOUND, "Commande non trouvée"),
        Err(response) => failure(&response),
    }
}

/// An order in this dialect: its first product, and a list of all if there are several.
fn render(order: &Order) -> Value {
    let first = order.lines.first();
    let status = match order.status {
        OrderStatus::Pending | OrderStatus::Cancelled => order.status.as_str(),
        _ => "processed",
    };
    let mut rendered = json!({
        "id": order.id,
        "userId": order.customer_id.as_ref().or_else(|| order.metadata.get(BUYER)),
        "productId": first.and_then(|line| line.product_id.as_ref()),
        "quantity": first.map(|line| line.quantity),
        "status": status,
        "createdAt": order.created_at,
    });
    if order.lines.len() > 1 {
        let product = |line: &OrderLine| json!({"productId": line.product_id, "quantity": line.quantity});
        rendered["products"] = order.lines.iter().map(product).collect();
    }
    rendered
}
