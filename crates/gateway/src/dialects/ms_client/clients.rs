//! `/customers`: clients as the Flask service told them.

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
    routes::AnyJson,
    values::id,
};

/// Every field of a client, in the order in which the first one that is missing is named.
const FIELDS: [&str; 8] = ["nom", "prenom", "email", "telephone", "adresse", "ville", "code_postal", "pays"];
const WHAT: &str = "Client";

pub(super) async fn list(State(api): State<ApiClient>, _: User) -> Response {
    match lists::whole(|| api.get(&["api", "customers"])).await {
        Ok(rows) => Json(rows.iter().map(render).collect::<Vec<_>>()).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn one(State(api): State<ApiClient>, _: User, Path(number): Path<String>) -> Response {
    match find(&api, "customers", &number).await {
        Ok(Some(customer)) => Json(render(&customer)).into_response(),
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

pub(super) async fn add(Admin(api): Admin, AnyJson(body): AnyJson) -> Response {
    if let Some(field) = FIELDS.iter().find(|field| body.get(**field).is_none_or(Value::is_null)) {
        return error(StatusCode::BAD_REQUEST, format!("Champ manquant: {field}"));
    }
    if let Some(wrong) = wrong(&body) {
        return wrong;
    }
    match api.post(&["api", "customers"]).json(wanted(&body)).send().await.ok() {
        Ok(made) => (StatusCode::CREATED, Json(brief(&made))).into_response(),
        Err(response) => unfit(&response),
    }
}

pub(super) async fn change(Admin(api): Admin, Path(number): Path<String>, AnyJson(body): AnyJson) -> Response {
    let customer = match find(&api, "customers", &number).await {
        Ok(Some(customer)) => customer,
        Ok(None) => return missing(WHAT),
        Err(response) => return refused(&response),
    };
    if let Some(wrong) = wrong(&body) {
        return wrong;
    }
    let mut change = wanted(&body);
    // The name that people see is made of the two, so both are said again.
    for name in ["first_name", "last_name"] {
        change.entry(name).or_insert_with(|| customer[name].clone());
    }
    change.insert("name".into(), Value::Null);
    match api.patch(&["api", "customers", id(&customer)]).json(change).send().await.ok() {
        Ok(changed) => Json(brief(&changed)).into_response(),
        Err(response) => unfit(&response),
    }
}

pub(super) async fn remove(Admin(api): Admin, Path(number): Path<String>) -> Response {
    match erase(&api, &number).await {
        Ok(true) => Json(json!({"message": "Client deleted successfully"})).into_response(),
        Ok(false) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

/// Cancels the client's open orders and removes what is personal; whether there was such a client.
pub(super) async fn erase(api: &ApiClient, number: &str) -> Result<bool, ApiResponse> {
    let Some(customer) = find(api, "customers", number).await? else { return Ok(false) };
    let gone = api.delete(&["api", "customers", id(&customer)]).query("cancel_open", true).send().await;
    if gone.is_not_found() { Ok(false) } else { gone.ok().map(|_| true) }
}

/// What the old service checked before anything else.
fn wrong(body: &Value) -> Option<Response> {
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

/// What a client sends, as the house takes it.
fn wanted(body: &Value) -> Map<String, Value> {
    let text = |field: &str| match body.get(field) {
        Some(Value::Number(number)) => Some(Value::String(number.to_string())),
        other => other.cloned(),
    };
    let mut wanted = Map::new();
    for (theirs, ours) in [("nom", "last_name"), ("prenom", "first_name"), ("email", "email"), ("telephone", "phone")] {
        if let Some(value) = text(theirs) {
            wanted.insert(ours.into(), value);
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
        wanted.insert("address".into(), address.into());
    }
    wanted
}

fn render(customer: &Value) -> Value {
    let address = &customer["address"];
    json!({
        "id": customer["number"],
        "nom": surname(customer),
        "prenom": customer["first_name"],
        "email": customer["email"],
        "telephone": customer["phone"],
        "adresse": address["line1"],
        "ville": address["city"],
        "code_postal": address["postal_code"],
        "pays": address["country"],
    })
}

fn brief(customer: &Value) -> Value {
    json!({
        "id": customer["number"],
        "nom": surname(customer),
        "prenom": customer["first_name"],
        "email": customer["email"],
    })
}

/// Customers from elsewhere may have one name only.
fn surname(customer: &Value) -> &Value {
    if customer["last_name"].is_null() { &customer["name"] } else { &customer["last_name"] }
}

/// A client that the house does not take, in the old words where there are some.
fn unfit(response: &ApiResponse) -> Response {
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
