//! Invalid requests over REST get the right client error, change nothing, and never cause a server error.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, drain_and_audit};
use reqwest::Method;
use serde_json::{Value, json};

/// The numbers of rows that must not change.
pub(crate) async fn counts(admin: &Client) -> Result<Vec<u64>> {
    let mut counts = Vec::new();
    for path in [
        "/api/orders",
        "/api/customers",
        "/api/users",
        "/api/products",
        "/api/places",
        "/api/stock/levels",
        "/api/stock/ledger",
    ] {
        counts.push(admin.total(path).await.with_context(|| path.to_owned())?);
    }
    counts.push(admin.all("/api/payments").await?.len() as u64);
    Ok(counts)
}

fn line(member: &str, value: Value) -> Value {
    let mut line = json!({"product_id": "TEA-ASSAM-250", "quantity": 1});
    line[member] = value;
    json!({"lines": [line]})
}

fn with(base: Value, member: &str, value: Value) -> Value {
    let mut body = base;
    body[member] = value;
    body
}

/// Invalid JSON bodies: method, path, body, status.
fn bodies() -> Vec<(Method, &'static str, Value, u16)> {
    let order = || json!({"lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]});
    let product = || json!({"name": "Thing", "price": 1});
    let stock = || json!({"product_id": "TEA-ASSAM-250", "place_id": "logistics", "delta": 1, "reason": "x"});
    let user = || json!({"username": "new-user", "email": "new@example.org", "password": "correct horse"});
    let megabyte = || json!("x".repeat(1_000_000));
    let post = |path, body, status| (Method::POST, path, body, status);
    vec![
        post("/api/orders", json!([]), 400),
        post("/api/orders", json!({}), 400),
        post("/api/orders", json!({"lines": "tea"}), 400),
        post("/api/orders", json!({"lines": []}), 422),
        post("/api/orders", json!({"lines": vec![json!({"product_id": "1", "quantity": 1}); 1_001]}), 422),
        post("/api/orders", with(order(), "colour", json!("red")), 400),
        post("/api/orders", with(order(), "total", json!(1)), 400),
        post("/api/orders", line("quantity", json!(-1)), 422),
        post("/api/orders", line("quantity", json!(0)), 422),
        post("/api/orders", line("quantity", json!(1_000_001)), 422),
        post("/api/orders", line("quantity", json!(1.5)), 400),
        post("/api/orders", line("quantity", json!("1")), 400),
        post("/api/orders", line("quantity", json!(1e30)), 400),
        post("/api/orders", line("unit_price", json!(1.005)), 400),
        post("/api/orders", line("unit_price", json!(-1)), 422),
        post("/api/orders", line("unit_price", json!("1.00")), 400),
        post("/api/orders", line("product_id", json!("NO-SUCH-THING")), 422),
        post("/api/orders", line("product_id", json!("with space")), 400),
        post("/api/orders", line("name", json!("both")), 422),
        post("/api/orders", json!({"lines": [{"name": "x".repeat(1_000_000), "quantity": 1, "unit_price": 1}]}), 422),
        post("/api/orders", with(order(), "id", json!("../etc")), 400),
        post("/api/orders", with(order(), "customer_id", json!("nobody")), 422),
        post("/api/orders", with(order(), "place_id", json!("nowhere")), 422),
        post("/api/orders", with(order(), "currency", json!("euro")), 400),
        post("/api/orders", with(order(), "currency", json!("USD")), 422),
        post("/api/orders", with(order(), "payment", json!({"method": "shells"})), 400),
        post("/api/orders", with(order(), "placed_at", json!("yesterday")), 400),
        post("/api/orders", with(order(), "notes", megabyte()), 422),
        post("/api/orders", with(order(), "shipping_address", json!({"line1": ""})), 422),
        post("/api/orders", with(order(), "adjustments", json!([{"label": "x", "amount": -1_000}])), 422),
        post("/api/orders/no-such-order/cancel", json!({}), 404),
        post("/api/orders/no-such-order/returns", json!({"lines": [{"line_id": "1", "quantity": 1}]}), 404),
        (Method::PUT, "/api/orders/no-such-order/status", json!({"status": "shipped"}), 404),
        (Method::PUT, "/api/orders/no-such-order/status", json!({"status": 7}), 400),
        post("/api/customers", json!({"name": megabyte()}), 422),
        post("/api/customers", json!({"name": 7}), 400),
        post("/api/customers", json!({"name": "A", "email": "not an address"}), 422),
        post("/api/customers", json!({"name": "A", "admin": true}), 400),
        post("/api/customers", json!({"name": "A\u{0}B"}), 422),
        post("/api/customers", json!({}), 422),
        (Method::PATCH, "/api/customers/no-such-customer", json!({"name": "A"}), 404),
        post("/api/users/register", with(user(), "password", json!("short")), 422),
        post("/api/users/register", with(user(), "username", json!("a b")), 422),
        post("/api/users/register", with(user(), "roles", json!(["admin"])), 400),
        post("/api/users", with(user(), "roles", json!(["emperor"])), 422),
        post("/api/users/login", json!({"password": "x"}), 422),
        post("/api/products", with(product(), "price", json!(9.999)), 400),
        post("/api/products", with(product(), "price", json!(-1)), 422),
        post("/api/products", with(product(), "price", json!("1")), 400),
        post("/api/products", with(product(), "name", megabyte()), 422),
        post("/api/products", with(product(), "name", json!("")), 422),
        post("/api/products", with(product(), "weight", json!(1)), 400),
        post("/api/products", with(product(), "id", json!("a/b")), 400),
        (Method::PATCH, "/api/products/no-such-product", json!({"price": 1}), 404),
        post("/api/stock/adjustments", with(stock(), "delta", json!(0)), 422),
        post("/api/stock/adjustments", with(stock(), "delta", json!(-1_000_000)), 409),
        post("/api/stock/adjustments", with(stock(), "delta", json!("1")), 400),
        post("/api/stock/adjustments", with(stock(), "place_id", json!("nowhere")), 422),
        post("/api/stock/adjustments", with(stock(), "reason", json!("")), 422),
        post("/api/places", json!({"name": "X", "kind": "castle"}), 422),
        post("/api/payments/no-such-payment/refunds", json!({"amount": 1}), 404),
        post("/api/payments/no-such-payment/refunds", json!({"amount": 0}), 422),
        post("/api/payments/no-such-payment/refunds", json!({"amount": 1.001}), 400),
    ]
}

/// Invalid list queries and unknown paths.
const QUERIES: &[(&str, u16)] = &[
    ("/api/orders?limit=0", 400),
    ("/api/orders?limit=101", 400),
    ("/api/orders?limit=many", 400),
    ("/api/orders?cursor=garbage", 400),
    ("/api/orders?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAA", 400),
    ("/api/orders?page=0", 400),
    ("/api/orders?page=4000000000", 400),
    ("/api/orders?status=lost", 400),
    ("/api/orders?sort=price", 400),
    ("/api/orders?placed_from=then", 400),
    ("/api/orders?colour=red", 400),
    ("/api/customers?limit=-1", 400),
    ("/api/customers?cursor=%FF%FE", 400),
    ("/api/products?limit=101", 400),
    ("/api/products?cursor=garbage", 400),
    ("/api/stock/levels?cursor=garbage", 400),
    ("/api/stock/ledger?limit=x", 400),
    ("/api/notifications?limit=0", 400),
    ("/api/notifications?severity=loud", 400),
    ("/api/payments?limit=0", 400),
    ("/api/payments?cursor=garbage", 400),
    ("/api/orders/no-such-order", 404),
    ("/api/orders/%FF", 400),
    ("/api/customers/no-such-customer", 404),
    ("/api/products/no-such-product", 404),
    ("/api/payments/no-such-payment", 404),
    ("/api/places/no-such-place", 404),
    ("/api/nothing", 404),
    ("/nothing", 404),
    ("/api/orders/a/b/c", 404),
];

/// Bodies that are not JSON, or do not match their content type.
fn raw() -> Vec<(&'static str, &'static str, Vec<u8>, u16)> {
    let json = "application/json";
    let valid = br#"{"lines":[{"product_id":"1","quantity":1}]}"#.to_vec();
    vec![
        ("truncated", json, br#"{"lines":[{"product_id":"1","#.to_vec(), 400),
        ("invalid UTF-8", json, b"{\"name\":\"\xff\xfe\"}".to_vec(), 400),
        ("empty", json, Vec::new(), 400),
        ("no JSON", json, b"lines=1".to_vec(), 400),
        ("deep", json, [vec![b'['; 100_000], vec![b']'; 100_000]].concat(), 400),
        ("two values", json, [valid.clone(), valid.clone()].concat(), 400),
        ("a member twice", json, br#"{"name":"A","name":"B","lines":[],"lines":[]}"#.to_vec(), 400),
        ("10 MB", json, format!("{{\"name\":\"{}\"}}", "x".repeat(10_000_000)).into_bytes(), 413),
        ("another type", "text/plain", valid.clone(), 415),
        ("a form", "application/x-www-form-urlencoded", valid, 415),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_refuses_what_it_cannot_take_and_writes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let before = counts(&admin).await?;
    let mut wrong = Vec::new();
    let mut note = |what: String, result: Result<Value>| {
        if let Err(error) = result {
            let message: String = format!("{error:#}").chars().take(400).collect();
            wrong.push(format!("{what}: {message}"));
        }
    };
    for (method, path, body, status) in bodies() {
        let excerpt: String = body.to_string().chars().take(100).collect();
        let response = admin.send(admin.request(method.clone(), path).json(&body)).await?;
        let problem = response.problem(status);
        let named = status != 422 || problem.as_ref().is_ok_and(|p| p["errors"][0]["field"].is_string());
        note(format!("{method} {path} {excerpt}"), problem);
        ensure!(named, "{method} {path} {excerpt}: the problem names no field: {}", response.text());
    }
    for (path, status) in QUERIES {
        note((*path).to_owned(), admin.get(path).await?.problem(*status));
    }
    for path in [
        "/api/orders",
        "/api/customers",
        "/api/users",
        "/api/users/login",
        "/api/products",
        "/api/stock/adjustments",
        "/api/places",
    ] {
        for (what, kind, body, status) in raw() {
            let request = admin.request(Method::POST, path).header("content-type", kind).body(body);
            match admin.send(request).await {
                Ok(response) => note(format!("{what} to {path}"), response.problem(status)),
                // The server may close the connection before the client has sent the whole body.
                Err(_) if status == 413 => {}
                Err(error) => note(format!("{what} to {path}"), Err(error)),
            }
        }
    }
    for (method, path) in [
        (Method::DELETE, "/api/orders"),
        (Method::PATCH, "/api/orders"),
        (Method::PUT, "/api/customers"),
        (Method::POST, "/api/products/x"),
        (Method::DELETE, "/api/payments/x"),
        (Method::POST, "/api/stock/levels"),
        (Method::POST, "/api/notifications"),
    ] {
        let response = admin.send(admin.request(method.clone(), path)).await?;
        note(format!("{method} {path}"), response.problem(405));
    }
    let huge = admin.request(Method::GET, "/api/orders").header("x-huge", "x".repeat(600_000));
    if let Ok(response) = admin.send(huge).await {
        ensure!((400..500).contains(&response.status), "a huge header: {}", response.status);
    }
    ensure!(wrong.is_empty(), "{} wrong responses:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(counts(&admin).await?, before, "something was written");
    drain_and_audit(fleet).await?;
    Ok(())
}
