//! Who may do what: every route without a token, and the contract's table row by row.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Answer, Client, Fleet};
use reqwest::Method;
use serde_json::{Value, json};

/// Routes that anybody may call.
const OPEN: [&str; 9] = [
    "get /.well-known/jwks.json",
    "get /.well-known/revoked",
    "get /api/places",
    "get /api/places/{id}",
    "get /api/products",
    "get /api/products/{id}",
    // A guest's, whose id is its secret.
    "post /api/carts",
    "post /api/users/login",
    "post /api/users/register",
];

async fn call(client: &Client, method: &str, path: &str, body: &Value) -> Result<Answer> {
    let mut request = client.request(Method::from_bytes(method.to_uppercase().as_bytes())?, path);
    if !body.is_null() {
        request = request.json(body);
    }
    client.send(request).await
}

/// A body that only the caller is wrong with.
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
async fn without_a_token_every_route_but_the_open_ones_answers_401() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let nobody = fleet.nobody();
    let merged = nobody.get("/openapi.json").await?.expect(200)?;
    let mut open = Vec::new();
    let mut closed = 0;
    for (path, item) in merged["paths"].as_object().context("paths")? {
        for method in item.as_object().context("an item")?.keys() {
            let route = format!("{method} {path}");
            let concrete =
                path.replace("{id}", "some-id").replace("{product_id}", "1").replace("{place_id}", "store-1");
            let answer = call(&nobody, method, &concrete, &body_for(&route)).await.with_context(|| route.clone())?;
            if OPEN.contains(&route.as_str()) {
                ensure!(answer.status != 401 || route.ends_with("login"), "{route}: {}", answer.text());
                ensure!(answer.status < 500, "{route}: {}", answer.text());
                open.push(route);
            } else {
                answer.problem(401).with_context(|| route.clone())?;
                ensure!(
                    answer.header("www-authenticate").starts_with("Bearer") || path.starts_with("/api/products"),
                    "{route}"
                );
                closed += 1;
            }
        }
    }
    open.sort();
    assert_eq!(open, OPEN, "the open routes are all described");
    assert!(closed >= 30, "only {closed} closed routes were found");
    Ok(())
}

/// The people of the table.
struct People {
    admin: Client,
    manager: Client,
    clerk: Client,
    customer: Client,
    own: String,
    other: String,
}

impl People {
    async fn of(fleet: &Fleet) -> Result<Self> {
        let admin = fleet.client("admin");
        let new = json!({"username": "clerk-1", "email": "clerk@souk.example", "password": "correct horse", "roles": ["clerk"], "stores": ["store-1"]});
        admin.post("/api/users", &new).await?.expect(201)?;
        let login = json!({"username": "clerk-1", "password": "correct horse"});
        let clerk = fleet.nobody().post("/api/users/login", &login).await?.expect(200)?;
        let customer = fleet.client("customer");
        let own =
            customer.get("/api/users/me").await?.expect(200)?["customer_id"].as_str().context("an id")?.to_owned();
        let (_, other) = fleet.nobody().register("other").await?;
        let clerk = fleet.nobody().with_token(clerk["token"].as_str().context("a token")?);
        Ok(Self { admin, manager: fleet.client("manager"), clerk, customer, own, other })
    }

    /// Does the same as each of customer, clerk, manager, admin, and compares the statuses.
    async fn each(&self, method: &str, path: &str, body: Value, expected: [u16; 4]) -> Result<()> {
        let everybody =
            [("customer", &self.customer), ("clerk", &self.clerk), ("manager", &self.manager), ("admin", &self.admin)];
        for ((who, client), expected) in everybody.into_iter().zip(expected) {
            let answer = call(client, method, path, &body).await?;
            ensure!(
                answer.status == expected,
                "{who}: {method} {path}: {} instead of {expected}: {}",
                answer.status,
                answer.text()
            );
            if expected >= 400 {
                answer.problem(expected).with_context(|| format!("{who}: {method} {path}"))?;
            }
        }
        Ok(())
    }
}

fn order(place: &str, customer: Option<&str>) -> Value {
    json!({"customer_id": customer, "place_id": place, "lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_a_customers_own_and_staffs_in_their_stores() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let people = People::of(&fleet).await?;
    let (own, other) = (Some(people.own.as_str()), Some(people.other.as_str()));
    people.each("post", "/api/orders", order("store-1", own), [201, 201, 201, 201]).await?;
    people.each("post", "/api/orders", order("store-1", other), [403, 201, 201, 201]).await?;
    people.each("post", "/api/orders", order("store-2", own), [201, 403, 403, 201]).await?;
    // Prices, days, walk-ins, adjustments, lines without a product: staff only.
    let mut priced = order("store-1", own);
    priced["lines"][0]["unit_price"] = json!(1);
    people.each("post", "/api/orders", priced, [403, 201, 201, 201]).await?;
    let mut dated = order("store-1", own);
    dated["placed_at"] = json!("2024-01-01T00:00:00Z");
    people.each("post", "/api/orders", dated, [403, 201, 201, 201]).await?;
    let mut adjusted = order("store-1", own);
    adjusted["adjustments"] = json!([{"label": "Coupon", "amount": -1}]);
    people.each("post", "/api/orders", adjusted, [403, 201, 201, 201]).await?;
    let ad_hoc = json!({"customer_id": own, "place_id": "store-1", "lines": [{"name": "Wrapping", "quantity": 1, "unit_price": 2}]});
    people.each("post", "/api/orders", ad_hoc, [403, 201, 201, 201]).await?;
    let walk_in = people.clerk.post("/api/orders", &order("store-1", None)).await?.expect(201)?;
    assert!(walk_in["customer_id"].is_null(), "{walk_in}");

    for (place, customer, seen, moved, returned, cancelled) in [
        ("store-1", other, [404, 200, 200, 200], [403, 200, 200, 200], [404, 403, 201, 201], [404, 409, 409, 409]),
        ("store-2", own, [200, 404, 404, 200], [403, 404, 404, 200], [201, 403, 404, 201], [409, 404, 404, 409]),
    ] {
        let mut many = order(place, customer);
        many["lines"][0]["quantity"] = json!(2);
        let made = people.admin.post("/api/orders", &many).await?.expect(201)?;
        let path = format!("/api/orders/{}", made["id"].as_str().context("an id")?);
        people.each("get", &path, Value::Null, seen).await?;
        people.each("get", &format!("{path}/returns"), Value::Null, seen).await?;
        people.each("put", &format!("{path}/status"), json!({"status": "processing"}), moved).await?;
        let back = json!({"lines": [{"line_id": "1", "quantity": 1}]});
        people.each("post", &format!("{path}/returns"), back, returned).await?;
        // Something came back, so who may cancel hears 409.
        people.each("post", &format!("{path}/cancel"), json!({}), cancelled).await?;
        people.each("delete", &path, Value::Null, [403, 403, 403, 204]).await?;
    }
    let places = |orders: Vec<Value>| orders.iter().all(|order| order["place_id"] == "store-1");
    assert!(places(people.manager.all("/api/orders").await?), "a manager sees his store alone");
    assert!(places(people.clerk.all("/api/orders").await?), "a clerk sees his store alone");
    let seen = people.customer.all("/api/orders").await?;
    assert!(
        !seen.is_empty() && seen.iter().all(|order| order["customer_id"] == json!(own)),
        "a customer sees his own alone"
    );
    people.customer.get(&format!("/api/orders?customer_id={}", people.other)).await?.problem(404)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_users_and_the_catalogue_are_changed_by_those_who_may() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let people = People::of(&fleet).await?;
    let (own, other) = (format!("/api/customers/{}", people.own), format!("/api/customers/{}", people.other));
    people.each("post", "/api/customers", json!({"name": "Ada"}), [403, 201, 201, 201]).await?;
    people.each("get", &own, Value::Null, [200, 200, 200, 200]).await?;
    people.each("get", &other, Value::Null, [404, 200, 200, 200]).await?;
    people.each("patch", &own, json!({"phone": "123456"}), [200, 200, 200, 200]).await?;
    people.each("patch", &other, json!({"phone": "123456"}), [404, 200, 200, 200]).await?;
    people.each("put", &other, json!({"name": "Other"}), [404, 200, 200, 200]).await?;
    people.each("get", &format!("{other}/timeline"), Value::Null, [404, 200, 200, 200]).await?;
    assert_eq!(people.customer.all("/api/customers").await?.len(), 1, "a customer sees himself alone");
    people.each("delete", &other, Value::Null, [403, 403, 403, 204]).await?;
    people.each("get", "/api/users", Value::Null, [403, 403, 403, 200]).await?;
    let roles = json!({"username": "new", "email": "n@souk.example", "password": "correct horse", "roles": ["admin"]});
    people.each("post", "/api/users", roles, [403, 403, 403, 201]).await?;
    people.each("put", "/api/users/some-id/roles", json!({"roles": ["admin"]}), [403, 403, 403, 404]).await?;
    let service =
        json!({"username": "robot", "email": "r@souk.example", "password": "correct horse", "roles": ["service"]});
    people.admin.post("/api/users", &service).await?.problem(422)?;

    people.each("post", "/api/products", json!({"id": "New", "name": "New", "price": 1}), [403, 403, 403, 201]).await?;
    people.each("patch", "/api/products/New", json!({"price": 2}), [403, 403, 403, 200]).await?;
    people.each("put", "/api/products/New", json!({"name": "New", "price": 2}), [403, 403, 403, 200]).await?;
    let gone = people.customer.delete("/api/products/New").await?;
    gone.problem(403)?;
    for client in [&people.customer, &people.clerk, &people.manager] {
        let query = json!({"query": "mutation{deleteProduct(id:\"New\"){id}}"});
        let refused = client.post("/graphql", &query).await?.expect(200)?;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_and_money_are_moved_by_those_who_may() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let people = People::of(&fleet).await?;
    let adjustment =
        |place: &str| json!({"product_id": "TEA-ASSAM-250", "place_id": place, "delta": 1, "reason": "found"});
    people.each("get", "/api/stock/levels", Value::Null, [403, 200, 200, 200]).await?;
    people.each("get", "/api/stock/levels?place_id=store-2", Value::Null, [403, 200, 200, 200]).await?;
    people.each("post", "/api/stock/adjustments", adjustment("store-1"), [403, 403, 201, 201]).await?;
    people.each("post", "/api/stock/adjustments", adjustment("store-2"), [403, 403, 403, 201]).await?;
    let mut batch = adjustment("store-1");
    batch["id"] = json!("batch-1");
    people.each("post", "/api/stock/adjustments/batch", json!({"adjustments": [batch]}), [403, 403, 403, 201]).await?;
    let threshold = |place: &str| format!("/api/stock/levels/TEA-ASSAM-250/{place}/threshold");
    people.each("put", &threshold("store-1"), json!({"threshold": 5}), [403, 403, 200, 200]).await?;
    people.each("put", &threshold("store-2"), json!({"threshold": 5}), [403, 403, 403, 200]).await?;
    people
        .each("post", "/api/places", json!({"id": "store-9", "name": "Nine", "kind": "store"}), [403, 403, 403, 201])
        .await?;
    people.each("get", "/api/places/store-9", Value::Null, [200, 200, 200, 200]).await?;
    let ledger = people.customer.get("/api/stock/ledger").await?;
    ledger.problem(403)?;

    let made = people.customer.post("/api/orders", &order("logistics", None)).await?.expect(201)?;
    let id = made["id"].as_str().context("an id")?;
    people.each("get", "/api/payments", Value::Null, [403, 403, 403, 200]).await?;
    people.each("get", &format!("/api/payments/{id}"), Value::Null, [403, 403, 403, 200]).await?;
    people.each("post", &format!("/api/payments/{id}/refunds"), json!({"amount": 1}), [403, 403, 403, 201]).await?;
    people.each("get", "/api/notifications", Value::Null, [200, 200, 200, 200]).await?;
    for notice in people.manager.all("/api/notifications").await? {
        assert_eq!(notice["place_id"], "store-1", "another store's notification: {notice}");
    }
    Ok(())
}
