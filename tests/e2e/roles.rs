//! Permissions: every route without a token, and the permissions of each role.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Response};
use reqwest::Method;
use serde_json::{Value, json};

/// Routes that need no token.
const PUBLIC: [&str; 9] = [
    "get /.well-known/jwks.json",
    "get /.well-known/revoked",
    "get /api/places",
    "get /api/places/{id}",
    "get /api/products",
    "get /api/products/{id}",
    // A guest's cart: its id is the secret.
    "post /api/carts",
    "post /api/users/login",
    "post /api/users/register",
];

async fn call(client: &Client, method: &str, path: &str, body: &Value) -> Result<Response> {
    let mut request = client.request(Method::from_bytes(method.to_uppercase().as_bytes())?, path);
    if !body.is_null() {
        request = request.json(body);
    }
    client.send(request).await
}

/// A body for a route that is valid, or at least not refused before the permission check.
fn body_for(route: &str) -> Value {
    match route {
        "post /api/products" | "put /api/products/{id}" => json!({"name": "Thing", "price": 1}),
        "patch /api/products/{id}" => json!({"name": "Thing"}),
        "post /api/carts/{id}/items" => json!({"product_id": "MUG-BLUE", "quantity": 1}),
        "put /api/carts/{id}/items/{item_id}" => json!({"quantity": 1}),
        route if route.starts_with("get") || route.starts_with("delete") || route.ends_with("logout") => Value::Null,
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_every_route_but_the_public_ones_returns_401() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let anonymous = fleet.anonymous();
    let merged = anonymous.get("/openapi.json").await?.expect(200)?;
    let mut public = Vec::new();
    let mut protected = 0;
    for (path, item) in merged["paths"].as_object().context("paths")? {
        for method in item.as_object().context("an item")?.keys() {
            let route = format!("{method} {path}");
            let concrete =
                path.replace("{id}", "some-id").replace("{product_id}", "1").replace("{place_id}", "store-1");
            let response =
                call(&anonymous, method, &concrete, &body_for(&route)).await.with_context(|| route.clone())?;
            if PUBLIC.contains(&route.as_str()) {
                ensure!(response.status != 401 || route.ends_with("login"), "{route}: {}", response.text());
                ensure!(response.status < 500, "{route}: {}", response.text());
                public.push(route);
            } else {
                response.problem(401).with_context(|| route.clone())?;
                ensure!(
                    response.header("www-authenticate").starts_with("Bearer") || path.starts_with("/api/products"),
                    "{route}"
                );
                protected += 1;
            }
        }
    }
    public.sort();
    assert_eq!(public, PUBLIC, "the OpenAPI document does not contain all public routes");
    assert!(protected >= 30, "only {protected} protected routes were found");
    Ok(())
}

/// A client for each role, and the ids of two customers.
struct Users {
    admin: Client,
    manager: Client,
    clerk: Client,
    customer: Client,
    own: String,
    other: String,
}

impl Users {
    async fn of(fleet: &Fleet) -> Result<Self> {
        let admin = fleet.client("admin");
        let new = json!({"username": "clerk-1", "email": "clerk@souk.example", "password": "correct horse", "roles": ["clerk"], "stores": ["store-1"]});
        admin.post("/api/users", &new).await?.expect(201)?;
        let login = json!({"username": "clerk-1", "password": "correct horse"});
        let clerk = fleet.anonymous().post("/api/users/login", &login).await?.expect(200)?;
        let customer = fleet.client("customer");
        let own =
            customer.get("/api/users/me").await?.expect(200)?["customer_id"].as_str().context("an id")?.to_owned();
        let (_, other) = fleet.anonymous().register("other").await?;
        let clerk = fleet.anonymous().with_token(clerk["token"].as_str().context("a token")?);
        Ok(Self { admin, manager: fleet.client("manager"), clerk, customer, own, other })
    }

    /// Sends the same request as customer, clerk, manager and admin, and compares the statuses.
    async fn expect_statuses(&self, method: &str, path: &str, body: Value, expected: [u16; 4]) -> Result<()> {
        let users =
            [("customer", &self.customer), ("clerk", &self.clerk), ("manager", &self.manager), ("admin", &self.admin)];
        for ((role, client), expected) in users.into_iter().zip(expected) {
            let response = call(client, method, path, &body).await?;
            ensure!(
                response.status == expected,
                "{role}: {method} {path}: {} instead of {expected}: {}",
                response.status,
                response.text()
            );
            if expected >= 400 {
                response.problem(expected).with_context(|| format!("{role}: {method} {path}"))?;
            }
        }
        Ok(())
    }
}

fn order(place: &str, customer: Option<&str>) -> Value {
    json!({"customer_id": customer, "place_id": place, "lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_access_their_own_orders_and_staff_those_of_their_stores() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let users = Users::of(&fleet).await?;
    let (own, other) = (Some(users.own.as_str()), Some(users.other.as_str()));
    users.expect_statuses("post", "/api/orders", order("store-1", own), [201, 201, 201, 201]).await?;
    users.expect_statuses("post", "/api/orders", order("store-1", other), [403, 201, 201, 201]).await?;
    users.expect_statuses("post", "/api/orders", order("store-2", own), [201, 403, 403, 201]).await?;
    // Only staff may set prices, dates and adjustments, and add lines without a product or orders without a customer.
    let mut priced = order("store-1", own);
    priced["lines"][0]["unit_price"] = json!(1);
    users.expect_statuses("post", "/api/orders", priced, [403, 201, 201, 201]).await?;
    let mut dated = order("store-1", own);
    dated["placed_at"] = json!("2024-01-01T00:00:00Z");
    users.expect_statuses("post", "/api/orders", dated, [403, 201, 201, 201]).await?;
    let mut adjusted = order("store-1", own);
    adjusted["adjustments"] = json!([{"label": "Coupon", "amount": -1}]);
    users.expect_statuses("post", "/api/orders", adjusted, [403, 201, 201, 201]).await?;
    let ad_hoc = json!({"customer_id": own, "place_id": "store-1", "lines": [{"name": "Wrapping", "quantity": 1, "unit_price": 2}]});
    users.expect_statuses("post", "/api/orders", ad_hoc, [403, 201, 201, 201]).await?;
    let walk_in = users.clerk.post("/api/orders", &order("store-1", None)).await?.expect(201)?;
    assert!(walk_in["customer_id"].is_null(), "{walk_in}");

    for (place, customer, seen, moved, returned, cancelled) in [
        ("store-1", other, [404, 200, 200, 200], [403, 200, 200, 200], [404, 403, 201, 201], [404, 409, 409, 409]),
        ("store-2", own, [200, 404, 404, 200], [403, 404, 404, 200], [201, 403, 404, 201], [409, 404, 404, 409]),
    ] {
        let mut many = order(place, customer);
        many["lines"][0]["quantity"] = json!(2);
        let made = users.admin.post("/api/orders", &many).await?.expect(201)?;
        let path = format!("/api/orders/{}", made["id"].as_str().context("an id")?);
        users.expect_statuses("get", &path, Value::Null, seen).await?;
        users.expect_statuses("get", &format!("{path}/returns"), Value::Null, seen).await?;
        users.expect_statuses("put", &format!("{path}/status"), json!({"status": "processing"}), moved).await?;
        let return_request = json!({"lines": [{"line_id": "1", "quantity": 1}]});
        users.expect_statuses("post", &format!("{path}/returns"), return_request, returned).await?;
        // The order has a return, so a permitted cancellation gets 409.
        users.expect_statuses("post", &format!("{path}/cancel"), json!({}), cancelled).await?;
        users.expect_statuses("delete", &path, Value::Null, [403, 403, 403, 204]).await?;
    }
    let places = |orders: Vec<Value>| orders.iter().all(|order| order["place_id"] == "store-1");
    assert!(places(users.manager.all("/api/orders").await?), "a manager sees orders of another store");
    assert!(places(users.clerk.all("/api/orders").await?), "a clerk sees orders of another store");
    let seen = users.customer.all("/api/orders").await?;
    assert!(
        !seen.is_empty() && seen.iter().all(|order| order["customer_id"] == json!(own)),
        "a customer does not see exactly their own orders"
    );
    users.customer.get(&format!("/api/orders?customer_id={}", users.other)).await?.problem(404)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_permitted_roles_change_customers_users_and_the_catalogue() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let users = Users::of(&fleet).await?;
    let (own, other) = (format!("/api/customers/{}", users.own), format!("/api/customers/{}", users.other));
    users.expect_statuses("post", "/api/customers", json!({"name": "Ada"}), [403, 201, 201, 201]).await?;
    users.expect_statuses("get", &own, Value::Null, [200, 200, 200, 200]).await?;
    users.expect_statuses("get", &other, Value::Null, [404, 200, 200, 200]).await?;
    users.expect_statuses("patch", &own, json!({"phone": "123456"}), [200, 200, 200, 200]).await?;
    users.expect_statuses("patch", &other, json!({"phone": "123456"}), [404, 200, 200, 200]).await?;
    users.expect_statuses("put", &other, json!({"name": "Other"}), [404, 200, 200, 200]).await?;
    users.expect_statuses("get", &format!("{other}/timeline"), Value::Null, [404, 200, 200, 200]).await?;
    assert_eq!(users.customer.all("/api/customers").await?.len(), 1, "a customer sees other customers");
    users.expect_statuses("delete", &other, Value::Null, [403, 403, 403, 204]).await?;
    users.expect_statuses("get", "/api/users", Value::Null, [403, 403, 403, 200]).await?;
    let roles = json!({"username": "new", "email": "n@souk.example", "password": "correct horse", "roles": ["admin"]});
    users.expect_statuses("post", "/api/users", roles, [403, 403, 403, 201]).await?;
    users.expect_statuses("put", "/api/users/some-id/roles", json!({"roles": ["admin"]}), [403, 403, 403, 404]).await?;
    let service =
        json!({"username": "robot", "email": "r@souk.example", "password": "correct horse", "roles": ["service"]});
    users.admin.post("/api/users", &service).await?.problem(422)?;

    users
        .expect_statuses("post", "/api/products", json!({"id": "New", "name": "New", "price": 1}), [403, 403, 403, 201])
        .await?;
    users.expect_statuses("patch", "/api/products/New", json!({"price": 2}), [403, 403, 403, 200]).await?;
    users.expect_statuses("put", "/api/products/New", json!({"name": "New", "price": 2}), [403, 403, 403, 200]).await?;
    let refused = users.customer.delete("/api/products/New").await?;
    refused.problem(403)?;
    for client in [&users.customer, &users.clerk, &users.manager] {
        let query = json!({"query": "mutation{deleteProduct(id:\"New\"){id}}"});
        let refused = client.post("/graphql", &query).await?.expect(200)?;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_permitted_roles_change_stock_and_payments() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let users = Users::of(&fleet).await?;
    let adjustment =
        |place: &str| json!({"product_id": "TEA-ASSAM-250", "place_id": place, "delta": 1, "reason": "found"});
    users.expect_statuses("get", "/api/stock/levels", Value::Null, [403, 200, 200, 200]).await?;
    users.expect_statuses("get", "/api/stock/levels?place_id=store-2", Value::Null, [403, 200, 200, 200]).await?;
    users.expect_statuses("post", "/api/stock/adjustments", adjustment("store-1"), [403, 403, 201, 201]).await?;
    users.expect_statuses("post", "/api/stock/adjustments", adjustment("store-2"), [403, 403, 403, 201]).await?;
    let mut batch = adjustment("store-1");
    batch["id"] = json!("batch-1");
    users
        .expect_statuses("post", "/api/stock/adjustments/batch", json!({"adjustments": [batch]}), [403, 403, 403, 201])
        .await?;
    let threshold = |place: &str| format!("/api/stock/levels/TEA-ASSAM-250/{place}/threshold");
    users.expect_statuses("put", &threshold("store-1"), json!({"threshold": 5}), [403, 403, 200, 200]).await?;
    users.expect_statuses("put", &threshold("store-2"), json!({"threshold": 5}), [403, 403, 403, 200]).await?;
    users
        .expect_statuses(
            "post",
            "/api/places",
            json!({"id": "store-9", "name": "Nine", "kind": "store"}),
            [403, 403, 403, 201],
        )
        .await?;
    users.expect_statuses("get", "/api/places/store-9", Value::Null, [200, 200, 200, 200]).await?;
    let ledger = users.customer.get("/api/stock/ledger").await?;
    ledger.problem(403)?;

    let made = users.customer.post("/api/orders", &order("logistics", None)).await?.expect(201)?;
    let id = made["id"].as_str().context("an id")?;
    users.expect_statuses("get", "/api/payments", Value::Null, [403, 403, 403, 200]).await?;
    users.expect_statuses("get", &format!("/api/payments/{id}"), Value::Null, [403, 403, 403, 200]).await?;
    users
        .expect_statuses("post", &format!("/api/payments/{id}/refunds"), json!({"amount": 1}), [403, 403, 403, 201])
        .await?;
    users.expect_statuses("get", "/api/notifications", Value::Null, [200, 200, 200, 200]).await?;
    for notification in users.manager.all("/api/notifications").await? {
        assert_eq!(notification["place_id"], "store-1", "another store's notification: {notification}");
    }
    Ok(())
}
