//! The merged OpenAPI document of the REST APIs is correct for client generators.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, on_servers};
use reqwest::Method;
use serde_json::{Value, json};

/// An operation of the OpenAPI document.
#[derive(Debug)]
struct Operation {
    id: String,
    method: Method,
    /// The path, with `{…}` for parameters.
    path: String,
    has_body: bool,
}

fn operations(document: &Value) -> Result<Vec<Operation>> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        for (method, operation) in item.as_object().context("an item")? {
            found.push(Operation {
                id: operation["operationId"]
                    .as_str()
                    .with_context(|| format!("{method} {path}: no operationId"))?
                    .to_owned(),
                method: Method::from_bytes(method.to_uppercase().as_bytes())?,
                path: path.clone(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    Ok(found)
}

/// The path with a value for each parameter, which equals no fixed segment of another path.
fn fill_parameters(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x-1" } else { part }).collect::<Vec<_>>().join("/")
}

/// The number of requests by method and route, over all services.
async fn request_counts(fleet: &Fleet) -> Result<BTreeMap<(String, String), u64>> {
    let mut counts = BTreeMap::new();
    let services = fleet.ready["services"].as_object().context("services")?.values();
    for url in services.chain([&fleet.ready["gateway"]]).filter_map(Value::as_str) {
        for line in Client::new(url, None).get("/metrics").await?.text().lines() {
            let Some(labels) = line.strip_prefix("http_requests_total{").and_then(|rest| rest.rsplit_once("} ")) else {
                continue;
            };
            let label = |name: &str| {
                let (_, rest) = labels.0.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value.to_owned())
            };
            let key = (label("method").context("a method")?, label("route").context("a route")?);
            *counts.entry(key).or_default() += labels.1.trim().parse::<f64>()? as u64;
        }
    }
    Ok(counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_an_id_of_its_own_and_reaches_the_route_that_it_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let document = admin.get("/openapi.json").await?.expect(200)?;
    let operations = operations(&document)?;
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    ensure!(ids.len() == operations.len(), "{} ids for {} operations: {operations:#?}", ids.len(), operations.len());
    ensure!(operations.len() >= 60, "only {} operations", operations.len());
    // Logout revokes the token, so it comes last. Streams never end, so they are left out.
    let (last, first): (Vec<_>, Vec<_>) = operations.iter().partition(|operation| operation.id == "logout");
    for operation in first.into_iter().chain(last).filter(|operation| !operation.path.ends_with("/stream")) {
        let before = request_counts(&fleet).await?;
        let mut request = admin.request(operation.method.clone(), &fill_parameters(&operation.path));
        if operation.has_body {
            request = request.json(&json!({}));
        }
        let response = admin.send(request).await.with_context(|| operation.id.clone())?;
        ensure!(response.status < 500, "{}: {}", operation.id, response.text());
        let after = request_counts(&fleet).await?;
        let key = (operation.method.to_string(), operation.path.clone());
        let count = |counts: &BTreeMap<_, u64>| counts.get(&key).copied().unwrap_or(0);
        ensure!(count(&after) > count(&before), "{}: {} {} did not reach its route", operation.id, key.0, key.1);
        let described = &document["paths"][&operation.path][operation.method.as_str().to_lowercase()]["responses"];
        ensure!(
            described.get(response.status.to_string()).is_some(),
            "{} returns {}, which its description does not contain",
            operation.id,
            response.status
        );
    }
    Ok(())
}

/// The schema of a request body, inline or by reference.
fn schema<'a>(document: &'a Value, method: &str, path: &str) -> Result<&'a Value> {
    let schema = &document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"];
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).context("a schema"),
        None => Ok(schema),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_requires_the_fields_without_which_the_request_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let document = admin.get("/openapi.json").await?.expect(200)?;
    let mut refused = 0;
    for (method, path) in [
        ("post", "/api/users"),
        ("post", "/api/users/register"),
        ("post", "/api/users/login"),
        ("post", "/api/customers"),
        ("post", "/api/prospects"),
        ("post", "/api/activities"),
        ("post", "/api/orders"),
        ("post", "/api/orders/{id}/returns"),
        ("post", "/api/stores/{id}/sales"),
        ("post", "/api/carts/{id}/items"),
        ("post", "/api/places"),
        ("post", "/api/stock/adjustments"),
        ("post", "/api/stock/replenishments"),
        ("post", "/api/products"),
    ] {
        let required: BTreeSet<String> =
            serde_json::from_value(schema(&document, method, path)?["required"].clone()).unwrap_or_default();
        let request = admin.request(Method::POST, &fill_parameters(path)).json(&json!({}));
        let response = admin.send(request).await?;
        // A missing field ends the parsing; the problem names it.
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let detail = body["detail"].as_str().unwrap_or_default();
        if response.status == 400 && detail.starts_with("missing field") {
            let field = body["field"].as_str().with_context(|| format!("{method} {path}: {body}"))?;
            ensure!(required.contains(field), "{method} {path}: {field} is not in {required:?}");
            refused += 1;
        }
        // Other fields are validated together. A customer needs a name, or a first or last name, which `required` cannot express.
        if path != "/api/customers" {
            for error in body["errors"].as_array().into_iter().flatten().filter(|error| error["rule"] == "required") {
                let field = error["field"].as_str().with_context(|| format!("{method} {path}: {body}"))?;
                ensure!(required.contains(field), "{method} {path}: {field} is not in {required:?}");
                refused += 1;
            }
        }
    }
    ensure!(refused >= 11, "only {refused} were refused for a missing field (on servers: {})", on_servers());
    Ok(())
}
