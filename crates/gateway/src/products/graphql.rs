//! Requests to the GraphQL API of the product service.

use axum::{
    body::{Body, Bytes},
    extract::Request,
};
use chassis::{FieldError, Kind, Problem};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{proxy, state::Gateway};

/// The fields of a product in queries.
pub(super) const FIELDS: &str = "id number name description category price currency active version";

/// Runs a mutation with the arguments in `variables`. A missing argument keeps a value, null removes it.
pub(super) async fn mutate(
    gateway: &Gateway,
    headers: &HeaderMap,
    name: &str,
    variables: Value,
) -> Result<Value, Problem> {
    const TYPES: [(&str, &str); 9] = [
        ("id", "ID!"),
        ("name", "String!"),
        ("description", "String"),
        ("category", "String"),
        ("price", "Float!"),
        ("currency", "String"),
        ("active", "Boolean!"),
        ("version", "Int"),
        ("idempotencyKey", "String"),
    ];
    let arguments: Vec<_> = TYPES.into_iter().filter(|(field, _)| variables.get(field).is_some()).collect();
    let declared: Vec<String> = arguments.iter().map(|(field, kind)| format!("${field}:{kind}")).collect();
    let passed: Vec<String> = arguments.iter().map(|(field, _)| format!("{field}:${field}")).collect();
    let text = format!("mutation({}){{{name}({}){{{FIELDS}}}}}", declared.join(","), passed.join(","));
    let mut data = query_graphql(gateway, headers, &text, variables).await?;
    Ok(data[name].take())
}

/// Sends a GraphQL request with the caller's token and returns the data.
pub(super) async fn query_graphql(
    gateway: &Gateway,
    headers: &HeaderMap,
    text: &str,
    variables: Value,
) -> Result<Value, Problem> {
    let body = json!({"query": text, "variables": variables}).to_string();
    let mut request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(Problem::internal)?;
    if let Some(token) = headers.get(header::AUTHORIZATION) {
        request.headers_mut().insert(header::AUTHORIZATION, token.clone());
    }
    let timeout = gateway.config.timeout("product");
    let response = proxy::pass(&gateway.http, &gateway.product, timeout, request).await;
    let status = response.status();
    let bytes: Bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|error| Problem::new(Kind::BadGateway, "The product service broke off its response.").because(error))?
        .to_bytes();
    let mut response: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(error) = response["errors"].as_array().and_then(|errors| errors.first()) {
        return Err(problem(error));
    }
    if !status.is_success() {
        let detail = response["detail"].as_str().unwrap_or("The product service refused.");
        return Err(Problem::new(Kind::from_status(status), detail));
    }
    Ok(response["data"].take())
}

/// The problem of a GraphQL error: its kind from `extensions.code`, its code from `extensions.problem`.
fn problem(error: &Value) -> Problem {
    let extensions = &error["extensions"];
    let kind = extensions["code"].as_str().unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|known| known.graphql() == kind).unwrap_or(Kind::Unreadable);
    let fields: Vec<FieldError> = serde_json::from_value(extensions["errors"].clone()).unwrap_or_default();
    let problem = match kind {
        Kind::Invalid if !fields.is_empty() => Problem::fields(fields),
        // The message of a GraphQL error is in the language of the old fleet.
        Kind::NotFound => Problem::not_found("product"),
        kind => Problem::new(kind, error["message"].as_str().unwrap_or("The product service refused.")),
    };
    match extensions["problem"].as_str() {
        Some(code) => problem.with_code(code.to_owned()),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_as_everywhere_in_rest() {
        let refusal = problem(&json!({"message": "Produit non trouvé", "extensions": {"code": "NOT_FOUND"}}));
        assert_eq!((refusal.kind(), refusal.detail()), (Kind::NotFound, "There is no such product."));
    }

    #[test]
    fn the_code_of_a_refusal_is_the_product_services_own() {
        let extensions = json!({"code": "CONFLICT", "problem": "product.id_taken"});
        let refusal = problem(&json!({"message": "Taken.", "extensions": extensions}));
        assert_eq!((refusal.kind(), refusal.code()), (Kind::Conflict, "product.id_taken"));
    }
}
