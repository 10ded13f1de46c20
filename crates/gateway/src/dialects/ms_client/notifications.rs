//! `/notifications`: the lines that each old service printed for its messages, newest last, made of orders and the stock ledger.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::Json;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{commandes::NumbersById, consumer::EXTERNAL_SALE, produits::PLACE, refused, users::User};
use crate::dialects::{
    api_client::{ApiClient, ApiRequest, ApiResponse},
    model::{LedgerEntry, Order, OrderStatus, Page},
};

/// Rows of which the lines are made.
const MAX_ROWS: u32 = 100;

pub(super) async fn of_clients(State(api): State<ApiClient>, _: User) -> Response {
    respond(of_placed(&api).await)
}

pub(super) async fn of_orders(State(api): State<ApiClient>, _: User) -> Response {
    respond(of_placed(&api).await)
}

pub(super) async fn of_products(State(api): State<ApiClient>, _: User) -> Response {
    respond(of_stock(&api).await)
}

fn respond(lines: Result<Vec<String>, ApiResponse>) -> Response {
    match lines {
        Ok(lines) => Json(lines).into_response(),
        Err(response) => refused(&response),
    }
}

/// The newest rows of a list, oldest first.
async fn newest<T: DeserializeOwned>(request: ApiRequest<'_>) -> Result<Vec<T>, ApiResponse> {
    let mut page: Page<T> = request.query("limit", MAX_ROWS).send().await.ok()?;
    page.data.reverse();
    Ok(page.data)
}

async fn of_placed(api: &ApiClient) -> Result<Vec<String>, ApiResponse> {
    let orders: Vec<Order> = newest(api.get(&["api", "orders"])).await?;
    let numbers = NumbersById::of(api, &orders).await?;
    let placed = orders.iter().filter(|order| order.status != OrderStatus::Cancelled);
    Ok(placed
        .map(|order| format!("Received order notification for client: {}", python(&body(order, &numbers))))
        .collect())
}

/// The message of an order on the exchange `order_notifications`.
pub(super) fn body(order: &Order, numbers: &NumbersById) -> [(&'static str, Value); 5] {
    [
        ("order_id", order.number.into()),
        ("client_id", numbers.client(order).into()),
        ("produit_id", numbers.first_product(order).into()),
        ("quantite", order.lines.first().map(|line| line.quantity).into()),
        ("montant_total", super::money(order.total).into()),
    ]
}

/// A dictionary in Python's notation.
fn python(members: &[(&str, Value)]) -> String {
    let value = |value: &Value| match value {
        Value::String(text) => format!("'{text}'"),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    };
    let members: Vec<String> = members.iter().map(|(name, of)| format!("'{name}': {}", value(of))).collect();
    format!("{{{}}}", members.join(", "))
}

/// Sales of the fleet and of other programs, and orders that were short of stock, by their time.
async fn of_stock(api: &ApiClient) -> Result<Vec<String>, ApiResponse> {
    let ledger: Vec<LedgerEntry> = newest(api.get(&["api", "stock", "ledger"]).query("place_id", PLACE)).await?;
    let cancelled: Vec<Order> = newest(api.get(&["api", "orders"]).query("status", "cancelled")).await?;
    let sold_products = ledger.iter().map(|entry| entry.product_id.as_str());
    let ordered_products = cancelled.iter().filter_map(|order| order.lines.first()?.product_id.as_deref());
    let numbers = NumbersById::of_products(api, sold_products.chain(ordered_products)).await?;
    let mut lines: BTreeMap<(&str, usize), String> = BTreeMap::new();
    let is_sale = |entry: &&LedgerEntry| entry.kind == "sold" || entry.reason == EXTERNAL_SALE;
    for entry in ledger.iter().filter(is_sale) {
        let product = Value::from(numbers.product(&entry.product_id));
        let text = format!("Stock updated for product {product}. New stock: {}", entry.balance);
        lines.insert((&entry.at, lines.len()), text);
    }
    // The reason of a cancelled order names what was missing.
    let is_short = |order: &&Order| order.reason.as_deref().is_some_and(|reason| reason.contains("stock"));
    for order in cancelled.iter().filter(is_short) {
        let product = Value::from(numbers.first_product(order));
        let text = format!("Stock update failed for product {product}. Not enough stock.");
        lines.insert((order.created_at.as_deref().unwrap_or_default(), lines.len()), text);
    }
    Ok(lines.into_values().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dictionary_is_printed_as_python_does() {
        let members = [("order_id", json!(1)), ("client_id", Value::Null), ("montant_total", json!("100.00"))];
        assert_eq!(python(&members), "{'order_id': 1, 'client_id': None, 'montant_total': '100.00'}");
    }
}
