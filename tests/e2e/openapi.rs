//! The merged description of the REST APIs, as a program that generates a client from it reads it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, on_servers};
use reqwest::Method;
use serde_json::{Value, json};

/// An operation of the description.
#[derive(Debug)]
struct Operation {
    id: String,
    method: Method,
    /// With `{…}` for parameters.
    path: String,
    has_body: bool,
}

fn operations(description: &Value) -> Result<Vec<Operation>> {
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().context("paths")? {
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

/// The path with a value for each parameter; none that a fixed part of another path could be.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x-1" } else { part }).collect::<Vec<_>>().join("/")
}

/// How often each route has answered each method, over all services.
async fn answered(fleet: &Fleet) -> Result<BTreeMap<(String, String), u64>> {
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
    let description = admin.get("/openapi.json").await?.expect(200)?;
    let operations = operations(&description)?;
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    ensure!(ids.len() == operations.len(), "{} ids for {} operations: {operations:#?}", ids.len(), operations.len());
    ensure!(operations.len() >= 60, "only {} operations", operations.len());
    // One that ends the token comes last, and a stream never ends.
    let (last, first): (Vec<_>, Vec<_>) = operations.iter().partition(|operation| operation.id == "logout");
    for operation in first.into_iter().chain(last).filter(|operation| !operation.path.ends_with("/stream")) {
        let before = answered(&fleet).await?;
        let mut request = admin.request(operation.method.clone(), &filled(&operation.path));
        if operation.has_body {
            request = request.json(&json!({}));
        }
        let answer = admin.send(request).await.with_context(|| operation.id.clone())?;
        ensure!(answer.status < 500, "{}: {}", operation.id, answer.text());
        let after = answered(&fleet).await?;
        let key = (operation.method.to_string(), operation.path.clone());
        let count = |counts: &BTreeMap<_, u64>| counts.get(&key).copied().unwrap_or(0);
        ensure!(count(&after) > count(&before), "{}: {} {} is not answered by its route", operation.id, key.0, key.1);
        let described = &description["paths"][&operation.path][operation.method.as_str().to_lowercase()]["responses"];
        ensure!(
            described.get(answer.status.to_string()).is_some(),
            "{} answers {}, which it does not describe",
            operation.id,
            answer.status
        );
    }
    Ok(())
}

/// The schema of a request body, wherever it is kept.
fn schema<'a>(description: &'a Value, method: &str, path: &str) -> Result<&'a Value> {
    let schema = &description["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"];
    match schema["$ref"].as_str() {
        Some(reference) => description.pointer(reference.trim_start_matches('#')).context("a schema"),
        None => Ok(schema),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_requires_the_fields_without_which_the_request_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let description = admin.get("/openapi.json").await?.expect(200)?;
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
            serde_json::from_value(schema(&description, method, path)?["required"].clone()).unwrap_or_default();
        let request = admin.request(Method::POST, &filled(path)).json(&json!({}));
        let answer = admin.send(request).await?;
        // A field that is missing stops the parsing, and is named.
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let detail = body["detail"].as_str().unwrap_or_default();
        if answer.status == 400 && detail.starts_with("missing field") {
            let field = body["field"].as_str().with_context(|| format!("{method} {path}: {body}"))?;
            ensure!(required.contains(field), "{method} {path}: {field} is not in {required:?}");
            refused += 1;
        }
        // Others are checked together. A customer has a name, or a first or last name, which no list of fields says.
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
