//! `/customers`: clients, with the wire format of the Flask service.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    error, find, missing, refused,
    users::{Admin, User},
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Address, Customer},
    routes::AnyJson,
};

/// The fields of a client, in the order in which the old service checked them.
const FIELDS: [&str; 8] = ["nom", "prenom", "email", "telephone", "adresse", "ville", "code_postal", "pays"];
const WHAT: &str = "Client";

pub(super) async fn list(State(api): State<ApiClient>, _: User) -> Response {
    match lists::all(|| api.get(&["api", "customers"])).await {
        Ok(rows) => Json(rows.iter().map(render).collect::<Vec<_>>()).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn one(State(api): State<ApiClient>, _: User, Path(number): Path<String>) -> Response {
    match find::<Customer>(&api, "customers", &number).await {
        Ok(Some(customer)) => Json(render(&customer)).into_response(),
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

pub(super) async fn add(Admin(api): Admin, AnyJson(body): AnyJson) -> Response {
    if let Some(field) = FIELDS.iter().find(|field| body.get(**field).is_none_or(Value::is_null)) {
        return error(StatusCode::BAD_REQUEST, format!("Champ manquant: {field}"));
    }
    if let Some(refusal) = check(&body) {
        return refusal;
    }
    match api.post(&["api", "customers"]).json(api_body(&body)).send().await.ok() {
        Ok(created) => (StatusCode::CREATED, Json(render_brief(&created))).into_response(),
        Err(response) => invalid(&response),
    }
}

pub(super) async fn change(Admin(api): Admin, Path(number): Path<String>, AnyJson(body): AnyJson) -> Response {
    let customer: Customer = match find(&api, "customers", &number).await {
        Ok(Some(customer)) => customer,
        Ok(None) => return missing(WHAT),
        Err(response) => return refused(&response),
    };
    if let Some(refusal) = check(&body) {
        return refusal;
    }
    let mut change = api_body(&body);
    // The API makes the full name of these two if both are in the change.
    for (field, name) in [("first_name", customer.first_name), ("last_name", customer.last_name)] {
        change.entry(field).or_insert_with(|| name.into());
    }
    change.insert("name".into(), Value::Null);
    match api.patch(&["api", "customers", &customer.id]).json(change).send().await.ok() {
        Ok(changed) => Json(render_brief(&changed)).into_response(),
        Err(response) => invalid(&response),
    }
}

pub(super) async fn remove(Admin(api): Admin, Path(number): Path<String>) -> Response {
    match erase(&api, &number).await {
        Ok(true) => Json(json!({"message": "Client deleted successfully"})).into_response(),
        Ok(false) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

/// Cancels the client's open orders and removes the personal data. Returns false if there is no such client.
pub(super) async fn erase(api: &ApiClient, number: &str) -> Result<bool, ApiResponse> {
    let Some(customer) = find::<Customer>(api, "customers", number).await? else { return Ok(false) };
    let deleted = api.delete(&["api", "customers", &customer.id]).query("cancel_open", true).send().await;
    if deleted.is_not_found() { Ok(false) } else { deleted.check().map(|_| true) }
}

/// The checks of the old service, which come before all others.
fn check(body: &Value) -> Option<Response> {
    let bad = |text: &str| Some(error(StatusCode::BAD_REQUEST, text));
    if let Some(name) = body.get("nom")
        && name.as_str().is_none_or(|name| name.trim().is_empty() || name.chars().any(char::is_numeric))
    {
        return bad("Nom non valide");
    }
    if let Some(email) = body.get("email")
        && email.as_str().is_none_or(|email| !email.contains('@'))
    {
        return bad("Email non valide");
    }
    None
}

/// The body for the API.
fn api_body(body: &Value) -> Map<String, Value> {
    let text = |field: &str| match body.get(field) {
        Some(Value::Number(number)) => Some(Value::String(number.to_string())),
        other => other.cloned(),
    };
    let mut customer = Map::new();
    for (theirs, ours) in [("nom", "last_name"), ("prenom", "first_name"), ("email", "email"), ("telephone", "phone")] {
        if let Some(value) = text(theirs) {
            customer.insert(ours.into(), value);
        }
    }
    let mut address = Map::new();
    for (theirs, ours) in [("adresse", "line1"), ("ville", "city"), ("code_postal", "postal_code"), ("pays", "country")]
    {
        if let Some(value) = text(theirs) {
            address.insert(ours.into(), value);
        }
    }
    if !address.is_empty() {
        customer.insert("address".into(), address.into());
    }
    customer
}

/// A client in this dialect.
fn render(customer: &Customer) -> Value {
    let none = Address::default();
    let address = customer.address.as_ref().unwrap_or(&none);
    json!({
        "id": customer.number,
        "nom": surname(customer),
        "prenom": customer.first_name,
        "email": customer.email,
        "telephone": customer.phone,
        "adresse": address.line1,
        "ville": address.city,
        "code_postal": address.postal_code,
        "pays": address.country,
    })
}

/// A client without the address.
fn render_brief(customer: &Customer) -> Value {
    json!({
        "id": customer.number,
        "nom": surname(customer),
        "prenom": customer.first_name,
        "email": customer.email,
    })
}

/// The last name, or the full name of a customer that has no other.
fn surname(customer: &Customer) -> Option<&String> {
    customer.last_name.as_ref().or(customer.name.as_ref())
}

/// A refusal of the API in the messages of the old service, where it had one.
fn invalid(response: &ApiResponse) -> Response {
    let names = |wanted: &[&str]| response.fields().any(|(field, _)| wanted.contains(&field));
    if names(&["email"]) {
        return error(StatusCode::BAD_REQUEST, "Email non valide");
    }
    if names(&["name", "last_name", "first_name"]) {
        return error(StatusCode::BAD_REQUEST, "Nom non valide");
    }
    if response.status == StatusCode::CONFLICT {
        return error(StatusCode::CONFLICT, "Email déjà utilisé");
    }
    refused(response)
}
