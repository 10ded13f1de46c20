//! Customers, with the wire format of the Node service.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::{Json, from_query};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Crm;
use crate::dialects::{
    api_client::ApiResponse,
    lists,
    model::{Address, Customer},
    routes::AnyJson,
};

/// The fields that a client may send.
const FIELDS: [&str; 4] = ["name", "email", "phone", "address"];

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Pages {
    page: u64,
    limit: u64,
}

impl Default for Pages {
    fn default() -> Self {
        Self { page: 1, limit: 10 }
    }
}

pub(super) async fn list(State(crm): State<Crm>, uri: Uri) -> Response {
    // The old service used the default for what is no number.
    let pages: Pages = from_query(uri.query().unwrap_or_default()).unwrap_or_default();
    let (page, limit) = (pages.page.max(1), pages.limit.max(1));
    let request = || crm.api.get(&["api", "customers"]).query("sort", "-number");
    match lists::range(request, (page - 1).saturating_mul(limit), limit).await {
        Ok(range) => Json(json!({
            "status": "success",
            "data": range.rows.iter().map(render).collect::<Vec<_>>(),
            "page": page,
            "limit": limit,
            "total": range.total,
        }))
        .into_response(),
        Err(response) => refused(&response, &Value::Null),
    }
}

pub(super) async fn one(State(crm): State<Crm>, Path(id): Path<String>) -> Response {
    match crm.api.get(&["api", "customers", &id]).send().await.ok() {
        Ok(customer) if !Customer::is_anonymised(&customer) => success(&customer),
        Ok(_) => missing(),
        Err(response) => refused(&response, &Value::Null),
    }
}

pub(super) async fn add(State(crm): State<Crm>, AnyJson(body): AnyJson) -> Response {
    let mut customer = api_body(&body);
    // The API accepts customers without these fields. Empty ones make it refuse them together with the other errors.
    for field in ["name", "email"] {
        let value = customer.entry(field).or_insert(Value::Null);
        if !value.is_string() {
            *value = "".into();
        }
    }
    match crm.api.post(&["api", "customers"]).json(customer).send().await.ok() {
        Ok(customer) => {
            let data = render(&customer);
            let response = json!({"status": "success", "message": "Customer added successfully", "data": data});
            (StatusCode::CREATED, Json(response)).into_response()
        }
        Err(response) => refused(&response, &body),
    }
}

pub(super) async fn change(State(crm): State<Crm>, Path(id): Path<String>, AnyJson(body): AnyJson) -> Response {
    if is_anonymised(&crm, &id).await {
        return missing();
    }
    match crm.api.patch(&["api", "customers", &id]).json(api_body(&body)).send().await.ok() {
        Ok(customer) => success(&customer),
        Err(response) => refused(&response, &body),
    }
}

pub(super) async fn remove(State(crm): State<Crm>, Path(id): Path<String>) -> Response {
    if is_anonymised(&crm, &id).await {
        return missing();
    }
    match crm.api.delete(&["api", "customers", &id]).send().await.check() {
        Ok(_) => Json(json!({"status": "success", "message": "Customer deleted successfully"})).into_response(),
        Err(response) => refused(&response, &Value::Null),
    }
}

async fn is_anonymised(crm: &Crm, id: &str) -> bool {
    let customer = crm.api.get(&["api", "customers", id]).send().await;
    customer.ok().is_ok_and(|customer: Customer| customer.is_anonymised())
}

/// The body for the API. An address of one text becomes its first line.
fn api_body(body: &Value) -> Map<String, Value> {
    FIELDS
        .iter()
        .filter_map(|field| {
            let value = match (body.get(*field)?, *field) {
                (Value::String(text), "address") => json!({ "line1": text }),
                (value, _) => value.clone(),
            };
            Some(((*field).to_owned(), value))
        })
        .collect()
}

/// A customer in this dialect.
fn render(customer: &Customer) -> Value {
    json!({
        "id": customer.id,
        "customer_id": customer.id,
        "name": customer.name,
        "email": customer.email,
        "phone": customer.phone,
        "address": customer.address.as_ref().and_then(one_line),
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
    })
}

/// An address as one text.
fn one_line(address: &Address) -> Option<String> {
    let Address { line1, line2, postal_code, city, state, country } = address;
    let parts = [line1, line2, postal_code, city, state, country].into_iter().filter_map(Option::as_deref);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn success(customer: &Customer) -> Response {
    Json(json!({"status": "success", "data": render(customer)})).into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "Customer not found"}))).into_response()
}

fn invalid(field: &str, message: &str, body: &Value) -> Value {
    let mut error = json!({"type": "field", "msg": message, "path": field, "location": "body"});
    if let Some(value) = body.get(field) {
        error["value"] = value.clone();
    }
    error
}

/// A refusal in the wire format of the old service.
fn refused(response: &ApiResponse, body: &Value) -> Response {
    if response.is_not_found() {
        return missing();
    }
    if !response.status.is_client_error() {
        return (response.status, Json(json!({"error": response.detail()}))).into_response();
    }
    let mut errors: Vec<Value> = response
        .fields()
        .map(|(field, _)| invalid(field.split(['.', '[']).next().unwrap_or(field), "Invalid value", body))
        .collect();
    if response.status == StatusCode::CONFLICT {
        errors = vec![invalid("email", "E-mail already in use", body)];
    }
    if errors.is_empty() {
        let field = FIELDS.into_iter().find(|field| response.unreadable_field() == Some(field)).unwrap_or("body");
        errors = vec![invalid(field, "Invalid value", body)];
    }
    (StatusCode::BAD_REQUEST, Json(json!({ "errors": errors }))).into_response()
}
