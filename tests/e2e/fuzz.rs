//! Mutated request bodies: none may cause a server error.

use anyhow::{Result, ensure};
use fleet_tests::{Client, Fleet, drain_and_audit};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Arbitrary JSON with a few levels, including boundary values.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(-1_i64), Just(0), Just(1), Just(1_000_000), Just(1_000_001), Just(i64::MAX), Just(i64::MIN)]
            .prop_map(Value::from),
        prop_oneof![Just(0.001), Just(-0.01), Just(1e300), Just(9_999_999_999_999.99), Just(1e-9)]
            .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![
            Just(String::new()),
            Just(" ".to_owned()),
            Just("\0".to_owned()),
            Just("' or 1=1 --".to_owned()),
            Just("../../x".to_owned()),
            Just("é".repeat(70)),
            Just("x".repeat(5_000)),
            Just("store-2".to_owned()),
            Just("9999-12-31T23:59:60Z".to_owned()),
            Just("-262144-01-01T00:00:00Z".to_owned()),
            Just("XXX".to_owned()),
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z_]{0,8}", inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect::<Value>()),
        ]
    })
}

/// A change of a body.
#[derive(Debug, Clone)]
enum Mutation {
    /// Replaces the value at this position.
    Replace(prop::sample::Index, Value),
    /// Removes the member or element at this position.
    Remove(prop::sample::Index),
    /// Adds a member to the object at this position.
    Add(prop::sample::Index, String, Value),
    /// Truncates the text.
    Truncate(prop::sample::Index),
    /// Replaces a byte of the text.
    Byte(prop::sample::Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), any_json()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        2 => any::<prop::sample::Index>().prop_map(Mutation::Remove),
        1 => (any::<prop::sample::Index>(), "[a-z_]{1,8}", any_json()).prop_map(|(at, name, value)| Mutation::Add(at, name, value)),
        1 => any::<prop::sample::Index>().prop_map(Mutation::Truncate),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
    ]
}

/// Collects JSON pointers to all values in a body.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), found))
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, value)| pointers(value, &format!("{at}/{n}"), found))
        }
        _ => {}
    }
}

fn mutate(body: &Value, mutations: &[Mutation]) -> Vec<u8> {
    let mut body = body.clone();
    let mut found: Vec<String> = Vec::new();
    for mutation in mutations {
        found.clear();
        pointers(&body, "", &mut found);
        match mutation {
            Mutation::Replace(at, value) => {
                if let Some(target) = body.pointer_mut(&found[at.index(found.len())]) {
                    *target = value.clone();
                }
            }
            Mutation::Remove(at) => {
                let (parent, name) = found[at.index(found.len())].rsplit_once('/').unwrap_or_default();
                match body.pointer_mut(parent) {
                    Some(Value::Object(members)) => drop(members.remove(name)),
                    Some(Value::Array(values)) if !values.is_empty() => drop(values.pop()),
                    _ => {}
                }
            }
            Mutation::Add(at, name, value) => {
                if let Some(Value::Object(members)) = body.pointer_mut(&found[at.index(found.len())]) {
                    members.insert(name.clone(), value.clone());
                }
            }
            Mutation::Truncate(_) | Mutation::Byte(..) => {}
        }
    }
    let mut text = body.to_string().into_bytes();
    for mutation in mutations {
        match mutation {
            Mutation::Truncate(at) => text.truncate(at.index(text.len().max(1))),
            Mutation::Byte(at, byte) if !text.is_empty() => {
                let at = at.index(text.len());
                text[at] = *byte;
            }
            _ => {}
        }
    }
    text
}

/// Sends mutations of a body. Every status must be below 500, and every error response a complete problem document.
fn fuzz(runtime: &Runtime, client: &Client, path: &str, body: &Value) -> Result<()> {
    let mut runner =
        TestRunner::new(Config { cases: 200, max_shrink_iters: 60, failure_persistence: None, ..Config::default() });
    let mutations = proptest::collection::vec(mutation(), 1..4);
    runner
        .run(&mutations, |mutations| {
            let text = mutate(body, &mutations);
            let excerpt = String::from_utf8_lossy(&text).into_owned();
            let request =
                client.request(reqwest::Method::POST, path).header("content-type", "application/json").body(text);
            let response = runtime
                .block_on(client.send(request))
                .map_err(|error| TestCaseError::fail(format!("{excerpt}: {error:#}")))?;
            if response.status >= 400 {
                response
                    .problem(response.status)
                    .map_err(|error| TestCaseError::fail(format!("{excerpt}: {error:#}")))?;
            }
            prop_assert!(response.status < 500, "{}: {} {}", excerpt, response.status, response.text());
            Ok(())
        })
        .map_err(|error| anyhow::anyhow!("POST {path}: {error}"))
}

#[test]
fn no_mutation_of_a_valid_body_causes_a_server_error() -> Result<()> {
    let runtime = Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let fleet = runtime.block_on(Fleet::start(folder.path()))?;
    let admin = fleet.client("admin");
    let order = json!({
        "place_id": "logistics", "placed_at": "2024-05-05T10:00:00Z", "currency": "EUR", "payment": {"method": "card"},
        "lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}, {"name": "Wrapping", "quantity": 1, "unit_price": 1.5}],
        "adjustments": [{"label": "Coupon", "amount": -0.5}],
        "shipping_address": {"line1": "Main Street 1", "city": "Town", "postal_code": "12345", "country": "DE"},
        "notes": "Ring twice",
    });
    let customer = json!({
        "name": "Ada Lovelace", "first_name": "Ada", "last_name": "Lovelace", "phone": "+49 40 123456",
        "address": {"line1": "Main Street 1", "line2": "2nd floor", "city": "Town", "state": "HH", "postal_code": "1", "country": "DE"},
    });
    let sent = runtime.block_on(admin.post("/api/orders", &order))?;
    ensure!(sent.status == 201, "the unchanged order: {}", sent.text());
    let sent = runtime.block_on(admin.post("/api/customers", &customer))?;
    ensure!(sent.status == 201, "the unchanged customer: {}", sent.text());
    fuzz(&runtime, &admin, "/api/orders", &order)?;
    fuzz(&runtime, &admin, "/api/customers", &customer)?;
    fuzz(
        &runtime,
        &admin,
        "/api/products",
        &json!({"name": "Thing", "description": "A", "category": "b", "price": 2.5, "currency": "EUR", "active": true}),
    )?;
    let adjustment = json!({"product_id": "TEA-ASSAM-250", "place_id": "logistics", "delta": 5, "reason": "found"});
    fuzz(&runtime, &admin, "/api/stock/adjustments", &adjustment)?;
    // The stores are still consistent after the accepted requests.
    runtime.block_on(drain_and_audit(fleet))?;
    Ok(())
}
