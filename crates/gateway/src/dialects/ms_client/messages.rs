//! `/notifications`: what each service had printed of the messages that it got, newest last; told from what the house keeps.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::Json;
use serde_json::{Value, json};

use super::{commandes::Names, consumer::SOLD_ELSEWHERE, produits::PLACE, refused, users::User};
use crate::dialects::api_client::{ApiClient, ApiResponse};

/// So many of the newest are told.
const MOST: u32 = 100;

pub(super) async fn of_clients(State(api): State<ApiClient>, _: User) -> Response {
    told(of_placed(&api).await)
}

pub(super) async fn of_orders(State(api): State<ApiClient>, _: User) -> Response {
    told(of_placed(&api).await)
}

pub(super) async fn of_products(State(api): State<ApiClient>, _: User) -> Response {
    told(of_stock(&api).await)
}

fn told(lines: Result<Vec<String>, ApiResponse>) -> Response {
    match lines {
        Ok(lines) => Json(lines).into_response(),
        Err(response) => refused(&response),
    }
}

async fn newest(api: &ApiClient, segments: &[&str], filter: Option<(&str, &str)>) -> Result<Vec<Value>, ApiResponse> {
    let request = api.get(segments).query("limit", MOST);
    let request = match filter {
        Some((name, value)) => request.query(name, value),
        None => request,
    };
    let mut response = request.send().await.ok()?;
    match response["data"].take() {
        Value::Array(mut rows) => {
            rows.reverse();
            Ok(rows)
        }
        _ => Ok(Vec::new()),
    }
}

async fn of_placed(api: &ApiClient) -> Result<Vec<String>, ApiResponse> {
    let orders = newest(api, &["api", "orders"], None).await?;
    let names = Names::of(api, &orders).await?;
    let placed = orders.iter().filter(|order| order["status"] != "cancelled");
    Ok(placed
        .map(|order| format!("Received order notification for client: {}", python(&body(order, &names))))
        .collect())
}

/// What the exchange `order_notifications` carries of an order.
pub(super) fn body(order: &Value, names: &Names) -> [(&'static str, Value); 5] {
    [
        ("order_id", order["number"].clone()),
        ("client_id", names.client(order)),
        ("produit_id", names.product(order)),
        ("quantite", order["lines"][0]["quantity"].clone()),
        ("montant_total", json!(super::money(&order["total"]))),
    ]
}

/// A dictionary as Python prints it.
fn python(members: &[(&str, Value)]) -> String {
    let value = |value: &Value| match value {
        Value::String(text) => format!("'{text}'"),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    };
    let members: Vec<String> = members.iter().map(|(name, of)| format!("'{name}': {}", value(of))).collect();
    format!("{{{}}}", members.join(", "))
}

/// Sales as the ledger has them, those of other programs too, and orders that there was not enough for, by their time.
async fn of_stock(api: &ApiClient) -> Result<Vec<String>, ApiResponse> {
    let moved = newest(api, &["api", "stock", "ledger"], Some(("place_id", PLACE))).await?;
    let cancelled = newest(api, &["api", "orders"], Some(("status", "cancelled"))).await?;
    let products: Vec<Value> =
        moved.iter().map(|line| json!({"lines": [{"product_id": line["product_id"]}]})).collect();
    let names = Names::of(api, &[products.as_slice(), cancelled.as_slice()].concat()).await?;
    let mut lines: BTreeMap<(String, usize), String> = BTreeMap::new();
    let mut note = |at: &Value, text: String| {
        let nth = lines.len();
        lines.insert((at.as_str().unwrap_or_default().to_owned(), nth), text);
    };
    for (line, product) in
        moved.iter().zip(&products).filter(|(line, _)| line["kind"] == "sold" || line["reason"] == SOLD_ELSEWHERE)
    {
        let (product, left) = (names.product(product), &line["balance"]);
        note(&line["at"], format!("Stock updated for product {product}. New stock: {left}"));
    }
    // A refused order says what was missing in its reason.
    let short = |order: &&Value| order["reason"].as_str().is_some_and(|reason| reason.contains("stock"));
    for order in cancelled.iter().filter(short) {
        let text = format!("Stock update failed for product {}. Not enough stock.", names.product(order));
        note(&order["created_at"], text);
    }
    Ok(lines.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_printed_as_python_does() {
        let members = [("order_id", json!(1)), ("client_id", Value::Null), ("montant_total", json!("100.00"))];
        assert_eq!(python(&members), "{'order_id': 1, 'client_id': None, 'montant_total': '100.00'}");
    }
}
