//! Bodies that are nearly right: whatever comes of them, it is no failure of ours.

use anyhow::{Result, ensure};
use fleet_tests::{Client, Fleet, drained};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Any JSON of a few levels, with the values at the edges of their ranges.
fn anything() -> impl Strategy<Value = Value> {
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

/// What is done to a body.
#[derive(Debug, Clone)]
enum Mutation {
    /// The value at that place becomes another.
    Replace(prop::sample::Index, Value),
    /// The member or element at that place goes.
    Remove(prop::sample::Index),
    /// The object at that place gets a member.
    Add(prop::sample::Index, String, Value),
    /// The text ends early.
    Cut(prop::sample::Index),
    /// A byte of the text becomes another.
    Byte(prop::sample::Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), anything()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        2 => any::<prop::sample::Index>().prop_map(Mutation::Remove),
        1 => (any::<prop::sample::Index>(), "[a-z_]{1,8}", anything()).prop_map(|(at, name, value)| Mutation::Add(at, name, value)),
        1 => any::<prop::sample::Index>().prop_map(Mutation::Cut),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
    ]
}

/// Pointers to everything in a body.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found))
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, value)| places(value, &format!("{at}/{n}"), found))
        }
        _ => {}
    }
}

fn mutate(body: &Value, mutations: &[Mutation]) -> Vec<u8> {
    let mut body = body.clone();
    let mut found: Vec<String> = Vec::new();
    for mutation in mutations {
        found.clear();
        places(&body, "", &mut found);
        match mutation {
            Mutation::Replace(at, value) => {
                if let Some(place) = body.pointer_mut(&found[at.index(found.len())]) {
                    *place = value.clone();
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
            Mutation::Cut(_) | Mutation::Byte(..) => {}
        }
    }
    let mut text = body.to_string().into_bytes();
    for mutation in mutations {
        match mutation {
            Mutation::Cut(at) => text.truncate(at.index(text.len().max(1))),
            Mutation::Byte(at, byte) if !text.is_empty() => {
                let at = at.index(text.len());
                text[at] = *byte;
            }
            _ => {}
        }
    }
    text
}

/// Sends mutations of a body; any answer below 500 will do, and a refusal must be a complete problem.
fn fuzz(runtime: &Runtime, client: &Client, path: &str, body: &Value) -> Result<()> {
    let mut runner =
        TestRunner::new(Config { cases: 200, max_shrink_iters: 60, failure_persistence: None, ..Config::default() });
    let mutations = proptest::collection::vec(mutation(), 1..4);
    runner
        .run(&mutations, |mutations| {
            let text = mutate(body, &mutations);
            let shown = String::from_utf8_lossy(&text).into_owned();
            let request =
                client.request(reqwest::Method::POST, path).header("content-type", "application/json").body(text);
            let answer = runtime
                .block_on(client.send(request))
                .map_err(|error| TestCaseError::fail(format!("{shown}: {error:#}")))?;
            if answer.status >= 400 {
                answer.problem(answer.status).map_err(|error| TestCaseError::fail(format!("{shown}: {error:#}")))?;
            }
            prop_assert!(answer.status < 500, "{}: {} {}", shown, answer.status, answer.text());
            Ok(())
        })
        .map_err(|error| anyhow::anyhow!("POST {path}: {error}"))
}

#[test]
fn no_mutation_of_a_valid_body_is_answered_with_a_failure_of_ours() -> Result<()> {
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
    ensure!(sent.status == 201, "the order itself: {}", sent.text());
    let sent = runtime.block_on(admin.post("/api/customers", &customer))?;
    ensure!(sent.status == 201, "the customer himself: {}", sent.text());
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
    // What was taken of it all still agrees.
    runtime.block_on(drained(fleet))?;
    Ok(())
}
