//! Orders, answered at once: the saga goes on by itself, whether the broker is there or not.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use commerce::OrderId;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Quartet, away, refusal};
use crate::dialects::{
    lists, orders,
    routes::AnyJson,
    values::{text, whole},
};

/// Where the order keeps the buyer's id when it is none of a customer.
const BUYER: &str = "user_id";
/// A message that waits so long for the broker tells that it is away.
const AWAY_SECONDS: i64 = 2;

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
    match customer.status {
        StatusCode::OK if customer.body["anonymised_at"].is_null() => order["customer_id"] = user.into(),
        status if status.is_server_error() => return away(&customer),
        // The old fleet took any id.
        _ => order["metadata"] = json!({ BUYER: user }),
    }
    let request = || quartet.api.post(&["api", "orders"]).json(&order).respond_async();
    match orders::place(&quartet.api, &id, request).await {
        Ok(_) => {
            let mut response = json!({
                "success": true,
                "message": "Commande créée et envoyée pour traitement",
                "orderId": id,
            });
            if broker_is_away(&quartet).await {
                response["warning"] = "Kafka indisponible, la commande sera traitée ultérieurement".into();
            }
            (StatusCode::CREATED, Json(response)).into_response()
        }
        Err(response) => away(&response),
    }
}

/// Whether what the order service has to tell waits for its broker.
async fn broker_is_away(quartet: &Quartet) -> bool {
    let ready = quartet.api.get(&["ready"]).to(&quartet.api.gateway.order).send().await;
    ready.body["facts"]["unpublished_seconds"].as_i64().is_some_and(|seconds| seconds >= AWAY_SECONDS)
}

pub(super) async fn list(State(quartet): State<Quartet>) -> Response {
    match lists::from_oldest(|| quartet.api.get(&["api", "orders"])).await {
        Ok(orders) => Json(orders.iter().map(render).collect::<Vec<_>>()).into_response(),
        Err(response) => away(&response),
    }
}

pub(super) async fn one(State(quartet): State<Quartet>, Path(id): Path<String>) -> Response {
    match orders::get(&quartet.api, &id).await.ok() {
        Ok(order) => Json(render(&order)).into_response(),
        Err(response) if response.is_not_found() => refusal(StatusCode::NOT_FOUND, "Commande non trouvée"),
        Err(response) => away(&response),
    }
}

/// An order as this dialect shows it: its first product, and all of them where there are several.
fn render(order: &Value) -> Value {
    let lines = order["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = lines.first().unwrap_or(&Value::Null);
    let buyer = if order["customer_id"].is_null() { &order["metadata"][BUYER] } else { &order["customer_id"] };
    let known = order["status"].as_str().filter(|status| ["pending", "cancelled"].contains(status));
    let status = known.unwrap_or("processed");
    let mut shown = json!({
        "id": order["id"],
        "userId": buyer,
        "productId": first["product_id"],
        "quantity": first["quantity"],
        "status": status,
        "createdAt": order["created_at"],
    });
    if lines.len() > 1 {
        shown["products"] =
            lines.iter().map(|line| json!({"productId": line["product_id"], "quantity": line["quantity"]})).collect();
    }
    shown
}
