//! One description of all REST APIs, merged from the services' own as they are now.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
};
use chassis::{Json, Problem};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::{payments, products, proxy, state::Gateway, upstream::Upstream};

const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(OpenApi)]
#[openapi(
    info(title = "Souk", description = "The whole fleet through its one front door. GraphQL is at `/graphql`."),
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
pub(crate) struct Own;

/// The merged description. A service that is away is named in `x-missing`.
pub(crate) async fn openapi(State(gateway): State<Gateway>) -> Result<Json<Value>, Problem> {
    let mut merged = serde_json::to_value(Own::openapi()).map_err(Problem::internal)?;
    let mut missing = Vec::new();
    for upstream in gateway.described() {
        match fetch(&gateway, upstream).await {
            Some(description) => merge(&mut merged, description, upstream.name),
            None => missing.push(upstream.name),
        }
    }
    if !missing.is_empty() {
        merged["x-missing"] = json!(missing);
    }
    Ok(Json(merged))
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

/// Adds one service's paths and schemas; its schemas get its name in front, since two may call
/// different things the same.
fn merge(into: &mut Value, from: Value, service: &str) {
    let renamed = from.to_string().replace("#/components/schemas/", &format!("#/components/schemas/{service}."));
    let mut from: Value = serde_json::from_str(&renamed).unwrap_or_default();
    let take = |value: &mut Value| match value.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (path, item) in take(&mut from["paths"]) {
        into["paths"][path] = item;
    }
    for (name, schema) in take(&mut from["components"]["schemas"]) {
        into["components"]["schemas"][format!("{service}.{name}")] = schema;
    }
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
}
