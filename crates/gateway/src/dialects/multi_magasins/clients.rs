//! Clients.

use axum::{extract::State, response::IntoResponse};
use chassis::Json;
use serde_json::{Value, json};

use super::{Refusal, Shop};
use crate::dialects::{api_client::ApiResponse, lists, routes::AnyJson, values::whole};

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let customers = lists::whole(|| shop.api.get(&["api", "customers"])).await?;
    Ok(Json(customers.iter().filter(|customer| is_here(customer)).map(render).collect()))
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
    let made = shop.api.post(&["api", "customers"]).json(customer).send().await.ok()?;
    Ok(Json(render(&made)))
}

/// The house's own id of the client that the fleet knows by a number; none where there is no such client.
pub(super) async fn find(shop: &Shop, number: i64) -> Result<Option<String>, ApiResponse> {
    let customer = lists::numbered(shop.api.get(&["api", "customers"]), number).await?;
    Ok(customer.filter(is_here).and_then(|customer| customer["id"].as_str().map(ToOwned::to_owned)))
}

/// The same, of a body's `client_id`.
pub(super) async fn named(shop: &Shop, body: &Value) -> Result<(i64, String), Refusal> {
    let number = whole(&body["client_id"])
        .ok_or_else(|| Refusal::field(json!(["body", "client_id"]), "value is not a valid integer"))?;
    let id = find(shop, number).await?.ok_or_else(missing)?;
    Ok((number, id))
}

pub(super) fn missing() -> Refusal {
    Refusal::missing("Client non trouvé")
}

/// Not one who has gone, whose orders alone remain.
fn is_here(customer: &Value) -> bool {
    customer["anonymised_at"].is_null()
}

fn render(customer: &Value) -> Value {
    json!({"id": customer["number"], "nom": customer["name"], "email": customer["email"]})
}
