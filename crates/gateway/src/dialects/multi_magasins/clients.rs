//! Clients.

use axum::{extract::State, response::IntoResponse};
use chassis::Json;
use serde_json::{Value, json};

use super::{Refusal, Shop};
use crate::dialects::{api_client::ApiResponse, lists, model::Customer, routes::AnyJson, values::whole};

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let customers: Vec<Customer> = lists::all(|| shop.api.get(&["api", "customers"])).await?;
    Ok(Json(customers.iter().filter(|customer| !customer.is_anonymised()).map(render).collect()))
}

pub(super) async fn add(
    State(shop): State<Shop>,
    AnyJson(body): AnyJson,
) -> Result<impl IntoResponse + use<>, Refusal> {
    for field in ["nom", "email"] {
        if body[field].as_str().is_none_or(|text| text.trim().is_empty()) {
            return Err(Refusal::field(json!(["body", field]), "field required"));
        }
    }
    let customer = json!({"name": body["nom"], "email": body["email"]});
    let created: Customer = shop.api.post(&["api", "customers"]).json(customer).send().await.ok()?;
    Ok(Json(render(&created)))
}

/// The id of the customer with this number, which is the id of this dialect. Anonymised customers are not found.
pub(super) async fn find(shop: &Shop, number: i64) -> Result<Option<String>, ApiResponse> {
    let customer: Option<Customer> = lists::by_number(shop.api.get(&["api", "customers"]), number).await?;
    Ok(customer.filter(|customer| !customer.is_anonymised()).map(|customer| customer.id))
}

/// The number and id of the customer that `client_id` of a body names.
pub(super) async fn named(shop: &Shop, body: &Value) -> Result<(i64, String), Refusal> {
    let number = whole(&body["client_id"])
        .ok_or_else(|| Refusal::field(json!(["body", "client_id"]), "value is not a valid integer"))?;
    let id = find(shop, number).await?.ok_or_else(missing)?;
    Ok((number, id))
}

pub(super) fn missing() -> Refusal {
    Refusal::missing("Client non trouvé")
}

fn render(customer: &Customer) -> Value {
    json!({"id": customer.number, "nom": customer.name, "email": customer.email})
}
