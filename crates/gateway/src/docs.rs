//! The description of all REST APIs, merged from the current descriptions of the services.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
};
use chassis::Json;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::{payments, products, proxy, state::Gateway, upstream::Upstream};

const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(OpenApi)]
#[openapi(
    info(title = "Souk", description = "The API of the whole fleet. GraphQL is at `/graphql`."),
    paths(
        products::list,
        products::get,
        products::create,
        products::update,
        products::replace,
        products::delete,
        payments::list,
        payments::get,
        payments::refund
    )
)]
struct Own;

/// The operations without authentication. All others require a token.
const OPEN: [(&str, &str); 14] = [
    ("get", "/.well-known/jwks.json"),
    ("get", "/.well-known/revoked"),
    ("delete", "/api/carts/{id}"),
    ("delete", "/api/carts/{id}/items/{item_id}"),
    ("get", "/api/carts/{id}"),
    ("get", "/api/places"),
    ("get", "/api/places/{id}"),
    ("get", "/api/products"),
    ("get", "/api/products/{id}"),
    ("post", "/api/carts"),
    ("post", "/api/carts/{id}/items"),
    ("post", "/api/users/login"),
    ("post", "/api/users/register"),
    ("put", "/api/carts/{id}/items/{item_id}"),
];

/// The description of the gateway itself.
pub(crate) fn own() -> Value {
    let mut own = chassis::with_problems(serde_json::to_value(Own::openapi()).unwrap_or_default());
    own["components"]["securitySchemes"]["bearer"] = json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"});
    own["security"] = json!([{"bearer": []}]);
    open(&mut own);
    own
}

/// Removes the security requirement from the open operations.
fn open(description: &mut Value) {
    for (method, path) in OPEN {
        if let Some(operation) = description["paths"].get_mut(path).and_then(|item| item.get_mut(method)) {
            operation["security"] = json!([]);
        }
    }
}

/// The merged description. `x-missing` names the services that are unreachable.
pub(crate) async fn openapi(State(gateway): State<Gateway>) -> Json<Value> {
    let mut merged = own();
    let mut missing = Vec::new();
    for upstream in gateway.described() {
        match fetch(&gateway, upstream).await {
            Some(description) => merge(&mut merged, description, upstream.name),
            None => missing.push(upstream.name),
        }
    }
    open(&mut merged);
    if !missing.is_empty() {
        merged["x-missing"] = json!(missing);
    }
    Json(merged)
}

async fn fetch(gateway: &Gateway, upstream: &Upstream) -> Option<Value> {
    let request = Request::get("/openapi.json").body(Body::empty()).ok()?;
    let response = proxy::pass(&gateway.http, upstream, TIMEOUT, request).await;
    if !response.status().is_success() {
        return None;
    }
    let bytes = response.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok()
}

/// Adds the paths, schemas and security schemes of a service. Schemas get the service's name as a prefix, since two services may use
/// the same name. Security schemes are the same in the whole fleet, so the first of a name stays.
fn merge(into: &mut Value, from: Value, service: &str) {
    let renamed = from.to_string().replace("#/components/schemas/", &format!("#/components/schemas/{service}."));
    let mut from: Value = serde_json::from_str(&renamed).unwrap_or_default();
    let take = |value: &mut Value| match value.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    // Routes outside the API, such as those for a sidecar, are not reachable through the gateway.
    for (path, item) in take(&mut from["paths"]).into_iter().filter(|(path, _)| reached(path)) {
        into["paths"][path] = item;
    }
    for (name, schema) in take(&mut from["components"]["schemas"]) {
        into["components"]["schemas"][format!("{service}.{name}")] = schema;
    }
    // Shared responses are the same in all services, so the first of a name stays.
    for (name, response) in take(&mut from["components"]["responses"]) {
        let responses = &mut into["components"]["responses"];
        if responses.get(&name).is_none() {
            responses[name] = response;
        }
    }
    let schemes = &mut into["components"]["securitySchemes"];
    for (name, scheme) in take(&mut from["components"]["securitySchemes"]) {
        if schemes.get(&name).is_none() {
            schemes[name] = scheme;
        }
    }
}

fn reached(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/.well-known/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_two_services_stay_apart() {
        let mut merged = json!({"paths": {}, "components": {"schemas": {"Line": 1}}});
        let order = json!({
            "paths": {"/api/orders": {"get": {"$ref": "#/components/schemas/Line"}}},
            "components": {"schemas": {"Line": 2}},
        });
        merge(&mut merged, order, "order");
        assert_eq!(merged["paths"]["/api/orders"]["get"]["$ref"], "#/components/schemas/order.Line");
        assert_eq!(merged["components"]["schemas"], json!({"Line": 1, "order.Line": 2}));
    }

    #[test]
    fn every_operation_says_how_to_log_in_and_the_open_ones_that_none_is_wanted() {
        let mut merged = own();
        let customer = json!({
            "paths": {
                "/api/users/login": {"post": {}},
                "/api/users": {"get": {"security": [{"bearer": []}]}, "post": {"security": [{"robot": []}]}},
            },
            "components": {"securitySchemes": {"bearer": {"type": "other"}, "robot": {"type": "apiKey"}}},
        });
        merge(&mut merged, customer, "customer");
        open(&mut merged);
        let schemes = &merged["components"]["securitySchemes"];
        assert_eq!(schemes["bearer"]["scheme"], "bearer");
        assert_eq!(schemes["robot"]["type"], "apiKey");
        let mut anybody = Vec::new();
        for (path, item) in merged["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("an item") {
                let wanted = operation.get("security").unwrap_or(&merged["security"]).as_array().expect("a list");
                for name in wanted.iter().flat_map(|one| one.as_object().expect("an object").keys()) {
                    assert!(schemes.get(name).is_some(), "{method} {path}: {name}");
                }
                if wanted.is_empty() {
                    anybody.push(format!("{method} {path}"));
                }
            }
        }
        anybody.sort();
        assert_eq!(anybody, ["get /api/products", "get /api/products/{id}", "post /api/users/login"]);
    }
}
