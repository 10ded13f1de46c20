//! The main use cases of customers, stores and head office.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, drain_and_audit, eventually};
use reqwest::Method;
use serde_json::{Value, json};

const TEA: &str = "TEA-ASSAM-250";
const BOWL: &str = "BOWL-OAK-L";

fn order_of(product: &str, quantity: u32) -> Value {
    json!({"lines": [{"product_id": product, "quantity": quantity}]})
}

fn id(value: &Value) -> Result<&str> {
    value["id"].as_str().with_context(|| format!("no id: {value}"))
}

async fn wait_for_level(admin: &Client, product: &str, level: (i64, i64)) -> Result<()> {
    eventually(&format!("{product} at {level:?}"), || async {
        Ok((admin.level(product, "logistics").await? == level).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_line_contains_all_that_a_script_needs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let line = &fleet.ready;
    assert_eq!(line["ready"], true);
    assert_eq!(line["data"].as_str().map(std::path::PathBuf::from), Some(folder.path().canonicalize()?));
    for service in ["customer", "order", "product", "stock", "payment", "notification"] {
        let url = line["services"][service].as_str().with_context(|| format!("{service} in {line}"))?;
        let direct = Client::new(url, None);
        assert_eq!(direct.get("/health").await?.expect(200)?["status"], "healthy", "{service}");
        direct.get("/ready").await?.expect(200)?;
        assert!(direct.get("/metrics").await?.text().contains("http_requests_total"), "{service}");
    }
    for port in ["stock", "payment"] {
        assert!(fleet.grpc(port).starts_with("http://127.0.0.1:"), "{line}");
    }
    for (user, role) in [("admin", "admin"), ("manager", "manager"), ("customer", "customer")] {
        let me = fleet.client(user).get("/api/users/me").await?.expect(200)?;
        assert_eq!((&me["username"], &me["roles"]), (&json!(user), &json!([role])));
        let login = json!({"username": user, "password": line["passwords"][user]});
        assert_eq!(fleet.anonymous().post("/api/users/login", &login).await?.expect(200)?["user"]["id"], me["id"]);
    }
    // A second start returns tokens too, but the passwords only once.
    fleet.terminate().await?;
    let again = Fleet::start(folder.path()).await?;
    assert!(again.ready["passwords"].is_null(), "{}", again.ready);
    again.client("customer").post("/api/orders", &order_of(TEA, 1)).await?.expect(201)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_confirmed_and_each_status_change_has_a_notification() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (admin, customer) = (fleet.client("admin"), fleet.client("customer"));
    let response = customer.post("/api/orders", &order_of(TEA, 2)).await?;
    let order = response.expect(201)?;
    let path = format!("/api/orders/{}", id(&order)?);
    assert_eq!(response.header("location"), path);
    let states: Vec<&str> =
        order["states"].as_array().into_iter().flatten().filter_map(|s| s["state"].as_str()).collect();
    assert_eq!(states, ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "PAID", "CONFIRMED"]);
    let times: Vec<&str> = order["states"].as_array().into_iter().flatten().filter_map(|s| s["at"].as_str()).collect();
    assert!(times.len() == 5 && times.is_sorted() && times.iter().all(|at| at.ends_with('Z')), "{times:?}");
    assert_eq!((&order["total"], &order["currency"]), (&json!(17.8), &json!("EUR")));
    assert_eq!(order["payment"]["status"], "captured");
    assert_eq!(order["lines"][0]["subtotal"], json!(17.8));
    assert_eq!(customer.get(&path).await?.expect(200)?["states"], order["states"]);
    wait_for_level(&admin, TEA, (998, 0)).await?;

    let status = format!("{path}/status");
    for (to, expected) in [
        ("delivered", 409),
        ("confirmed", 200),
        ("processing", 200),
        ("processing", 200),
        ("shipped", 200),
        ("processing", 409),
        ("cancelled", 409),
        ("delivered", 200),
        ("pending", 409),
        ("lost", 422),
    ] {
        let response = admin.put(&status, &json!({"status": to})).await?;
        assert_eq!(response.status, expected, "to {to}: {}", response.text());
        if expected == 200 {
            assert_eq!(response.json()?["status"], to);
            assert_eq!(response.header("etag"), format!("\"{}\"", response.json()?["version"]));
        } else {
            response.problem(expected)?;
        }
    }
    let stale = admin.request(Method::PUT, &status).header("if-match", "\"1\"").json(&json!({"status": "delivered"}));
    admin.send(stale).await?.problem(412)?;
    for (method, path) in [(Method::POST, format!("{path}/cancel")), (Method::DELETE, path.clone())] {
        admin.send(admin.request(method, &path).header("if-match", "\"1\"")).await?.problem(412)?;
    }
    let history = admin.get(&path).await?.expect(200)?["history"].clone();
    let moves: Vec<&str> = history.as_array().into_iter().flatten().filter_map(|m| m["status"].as_str()).collect();
    assert_eq!(moves, ["pending", "confirmed", "processing", "shipped", "delivered"]);
    let me = admin.get("/api/users/me").await?.expect(200)?;
    assert_eq!((&history[1]["actor"], &history[4]["actor"]), (&Value::Null, &me["id"]));
    customer.put(&status, &json!({"status": "processing"})).await?.problem(403)?;

    let (other, other_id) = fleet.anonymous().register("stranger").await?;
    other.get(&path).await?.problem(404)?;
    let own = order["customer_id"].as_str().context("a customer")?;
    let kinds = eventually("all status changes are on the timeline", || async {
        let page = customer.get(&format!("/api/customers/{own}/timeline")).await?.expect(200)?;
        let mut kinds: Vec<String> = page["data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|n| n["kind"].as_str().map(ToOwned::to_owned))
            .collect();
        kinds.sort();
        Ok((kinds.iter().filter(|kind| *kind == "order.status_changed").count() == 3).then_some(kinds))
    })
    .await?;
    for kind in ["customer.created", "order.placed", "order.confirmed", "payment.captured"] {
        assert_eq!(kinds.iter().filter(|found| *found == kind).count(), 1, "{kind} in {kinds:?}");
    }
    other.get(&format!("/api/customers/{own}/timeline")).await?.problem(404)?;
    for notification in other.all("/api/notifications").await? {
        assert_eq!(notification["customer_id"], json!(other_id), "another customer's notification: {notification}");
    }
    drain_and_audit(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_has_a_reason_and_changes_neither_stock_nor_payments() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_PAYMENT_SANDBOX_LIMIT", "500")]).await?;
    let (admin, customer) = (fleet.client("admin"), fleet.client("customer"));
    // The quantities of two lines with the same product are added.
    let body = json!({"lines": [{"product_id": TEA, "quantity": 600}, {"product_id": TEA, "quantity": 600}, {"product_id": BOWL, "quantity": 1}]});
    let shortage = customer.post("/api/orders", &body).await?.problem(409)?;
    assert_eq!(shortage["shortages"], json!([{"product_id": TEA, "requested": 1200, "available": 1000}]));
    let expensive = customer.post("/api/orders", &order_of("2", 1)).await?.problem(402)?;
    assert!(expensive["reason"].as_str().is_some_and(|reason| reason.contains("payment refused")), "{expensive}");
    for (refusal, states) in [
        (&shortage, &["CREATED", "STOCK_CHECKED", "CANCELLED"][..]),
        (&expensive, &["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "CANCELLED"]),
    ] {
        let order =
            customer.get(&format!("/api/orders/{}", refusal["order_id"].as_str().unwrap_or("?"))).await?.expect(200)?;
        assert_eq!((&order["state"], &order["status"]), (&json!("CANCELLED"), &json!("cancelled")));
        assert_eq!(order["reason"], refusal["reason"]);
        let found: Vec<&str> =
            order["states"].as_array().into_iter().flatten().filter_map(|s| s["state"].as_str()).collect();
        assert_eq!(found, states);
    }
    for product in [TEA, BOWL, "2"] {
        wait_for_level(&admin, product, (1_000, 0)).await?;
    }
    for payment in admin.all("/api/payments").await? {
        assert!(["refused", "voided"].contains(&payment["status"].as_str().unwrap_or_default()), "{payment}");
    }
    drain_and_audit(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_and_returning_restock_and_refund() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (admin, customer) = (fleet.client("admin"), fleet.client("customer"));
    let first = customer.post("/api/orders", &order_of(TEA, 5)).await?.expect(201)?;
    let path = format!("/api/orders/{}", id(&first)?);
    wait_for_level(&admin, TEA, (995, 0)).await?;
    let cancelled =
        customer.post(&format!("{path}/cancel"), &json!({"reason": "changed my mind"})).await?.expect(200)?;
    assert_eq!((&cancelled["status"], &cancelled["reason"]), (&json!("cancelled"), &json!("changed my mind")));
    customer.post(&format!("{path}/cancel"), &json!({})).await?.expect(200)?;
    wait_for_level(&admin, TEA, (1_000, 0)).await?;
    let payment = admin.get(&format!("/api/payments/{}", id(&first)?)).await?.expect(200)?;
    assert!(["voided", "refunded"].contains(&payment["status"].as_str().unwrap_or_default()), "{payment}");

    let body = json!({"lines": [{"product_id": TEA, "quantity": 4}, {"product_id": BOWL, "quantity": 1}]});
    let second = customer.post("/api/orders", &body).await?.expect(201)?;
    let path = format!("/api/orders/{}", id(&second)?);
    let return_request =
        |quantity: u32, restock: bool| json!({"lines": [{"line_id": "1", "quantity": quantity}], "restock": restock});
    let made = customer.post(&format!("{path}/returns"), &return_request(1, true)).await?.expect(201)?;
    assert_eq!(made["refund"], json!({"amount": 8.9, "status": "done"}));
    assert_eq!(made["lines"], json!([{"line_id": "1", "product_id": TEA, "quantity": 1}]));
    wait_for_level(&admin, TEA, (997, 0)).await?;
    customer.post(&format!("{path}/returns"), &return_request(4, true)).await?.problem(409)?;
    let not_restocked = customer.post(&format!("{path}/returns"), &return_request(3, false)).await?.expect(201)?;
    assert_eq!(not_restocked["refund"]["amount"], json!(26.7));
    let unknown = json!({"lines": [{"line_id": "9", "quantity": 1}]});
    customer.post(&format!("{path}/returns"), &unknown).await?.problem(422)?;
    let refused = customer.post(&format!("{path}/cancel"), &json!({})).await?.problem(409)?;
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("return")), "{refused}");
    let order = customer.get(&path).await?.expect(200)?;
    assert_eq!((&order["lines"][0]["returned"], &order["lines"][1]["returned"]), (&json!(4), &json!(0)));
    assert_eq!(order["payment"]["status"], "partly_refunded");
    let manual =
        admin.post(&format!("/api/payments/{}/refunds", id(&second)?), &json!({"amount": 54})).await?.expect(201)?;
    assert_eq!(manual["status"], "refunded");
    // The second return was not restocked.
    wait_for_level(&admin, TEA, (997, 0)).await?;
    drain_and_audit(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn respond_async_gets_202_and_a_status_url() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let customer = fleet.client("customer");
    let request =
        customer.request(Method::POST, "/api/orders").header("prefer", "respond-async").json(&order_of(TEA, 1));
    let response = customer.send(request).await?;
    let running = response.expect(202)?;
    let url = running["status_url"].as_str().context("a status_url")?;
    assert_eq!(response.header("location"), url);
    assert_eq!(response.header("retry-after"), "1");
    let order = eventually("the order is confirmed", || async {
        let order = customer.get(url).await?.expect(200)?;
        Ok((order["state"] == "CONFIRMED").then_some(order))
    })
    .await?;
    assert_eq!(order["id"], running["id"]);
    // Only for staff: cash, on account, no customer, a line without a product, an adjustment, an earlier date.
    let admin = fleet.client("admin");
    let body = json!({
        "placed_at": "2020-02-29T12:00:00Z", "payment": {"method": "on_account"},
        "lines": [{"name": "Gift wrapping", "quantity": 2, "unit_price": 1.25}, {"product_id": TEA, "quantity": 1, "unit_price": 8}],
        "adjustments": [{"label": "Coupon", "amount": -0.5}],
    });
    let order = admin.post("/api/orders", &body).await?.expect(201)?;
    assert_eq!((&order["total"], &order["placed_at"]), (&json!(10), &json!("2020-02-29T12:00:00.000000Z")));
    assert!(order["customer_id"].is_null(), "{order}");
    let states = order["states"].to_string();
    assert!(!states.contains("PAID") && states.contains("CONFIRMED"), "{states}");
    admin.get(&format!("/api/payments/{}", id(&order)?)).await?.problem(404)?;
    let body = json!({"payment": {"method": "cash"}, "lines": [{"product_id": TEA, "quantity": 1}]});
    let order = admin.post("/api/orders", &body).await?.expect(201)?;
    assert_eq!(order["payment"]["status"], "captured");
    // A customer can pay neither with cash nor on account.
    for method in ["cash", "on_account"] {
        let body = json!({"payment": {"method": method}, "lines": [{"product_id": TEA, "quantity": 1}]});
        customer.post("/api/orders", &body).await?.problem(403)?;
    }
    drain_and_audit(fleet).await?;
    Ok(())
}

/// Reads a stream of server-sent events up to the next event of a kind; returns its data.
async fn next_of_kind(stream: &mut reqwest::Response, kind: &str) -> Result<Value> {
    let mut text = String::new();
    let read = async {
        loop {
            while let Some((event, rest)) = text.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let (event_kind, data) = (line("event:"), line("data:").map(ToOwned::to_owned));
                let found = event_kind == Some(kind);
                text = rest.to_owned();
                if let (true, Some(data)) = (found, data) {
                    return Ok(serde_json::from_str(&data)?);
                }
            }
            let chunk = stream.chunk().await?.context("the stream has ended")?;
            text.push_str(std::str::from_utf8(&chunk)?);
        }
    };
    tokio::time::timeout(fleet_tests::TIMEOUT, read).await.with_context(|| format!("no event {kind}"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_has_only_the_customers_own_notifications() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let customer = fleet.client("customer");
    let (other, _) = fleet.anonymous().register("stranger").await?;
    let open = |client: &Client| {
        let request = client.request(Method::GET, "/api/notifications/stream");
        async move {
            let stream = request.send().await?;
            ensure!(stream.status() == 200, "{}", stream.status());
            ensure!(stream.headers()["content-type"] == "text/event-stream", "{:?}", stream.headers());
            Ok(stream)
        }
    };
    let (mut own, mut others) = (open(&customer).await?, open(&other).await?);
    let first = customer.post("/api/orders", &order_of(TEA, 1)).await?.expect(201)?;
    let event = next_of_kind(&mut own, "order.confirmed").await?;
    assert_eq!((&event["order_id"], &event["customer_id"]), (&first["id"], &first["customer_id"]));
    // The first order event of the other customer is of that customer's own order, though the first order was placed earlier.
    let second = other.post("/api/orders", &order_of(TEA, 1)).await?.expect(201)?;
    let event = next_of_kind(&mut others, "order.placed").await?;
    assert_eq!(event["order_id"], second["id"]);
    // A stream with Last-Event-ID continues after that event.
    let number = event["number"].as_i64().context("a number")?;
    let request =
        other.request(Method::GET, "/api/notifications/stream").header("last-event-id", (number - 1).to_string());
    let again = next_of_kind(&mut request.send().await?, "order.placed").await?;
    assert_eq!(again["id"], event["id"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_changed_by_rest_and_read_by_graphql() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (admin, anonymous) = (fleet.client("admin"), fleet.anonymous());
    let new =
        json!({"id": "Teapot", "name": "Teapot", "price": 49.9, "category": "kitchen", "description": "Cast iron"});
    let made = admin.post_once("/api/products", "pot", &new).await?;
    assert_eq!(made.header("location"), "/api/products/Teapot");
    let teapot = made.expect(201)?;
    assert_eq!((&teapot["price"], &teapot["currency"], &teapot["version"]), (&json!(49.9), &json!("EUR"), &json!(1)));
    assert_eq!(admin.post_once("/api/products", "pot", &new).await?.expect(201)?, teapot);
    let other = json!({"id": "Teapot", "name": "Another", "price": 1});
    admin.post("/api/products", &other).await?.problem(409)?;
    anonymous.get("/api/products/TEAPOT").await?.problem(404)?;
    let read = anonymous.get("/api/products/Teapot").await?;
    assert_eq!((read.header("etag"), read.expect(200)?), ("\"1\"", teapot.clone()));
    let change = |tag: &str, body: Value| {
        admin.request(Method::PATCH, "/api/products/Teapot").header("if-match", tag).json(&body)
    };
    let changed = admin.send(change("\"1\"", json!({"price": 45}))).await?.expect(200)?;
    assert_eq!((&changed["price"], &changed["name"], &changed["version"]), (&json!(45), &json!("Teapot"), &json!(2)));
    admin.send(change("\"1\"", json!({"price": 1}))).await?.problem(412)?;
    let replaced = admin.put("/api/products/Teapot", &json!({"name": "Pot", "price": 44.5})).await?.expect(200)?;
    assert_eq!((&replaced["name"], &replaced["category"]), (&json!("Pot"), &Value::Null), "{replaced}");

    let graphql = async |query: &str| anonymous.post("/graphql", &json!({"query": query})).await?.expect(200);
    let response = graphql("{product(id:\"Teapot\"){id name price version}}").await?;
    assert_eq!(response["data"]["product"], json!({"id": "Teapot", "name": "Pot", "price": 44.5, "version": 3}));
    let response =
        graphql("{catalog(category:\"pantry\",first:3){edges{node{id}} pageInfo{hasNextPage} totalCount}}").await?;
    assert_eq!(response["data"]["catalog"]["edges"].as_array().map(Vec::len), Some(3), "{response}");
    assert_eq!(response["data"]["catalog"]["totalCount"], 6, "{response}");
    let refused = graphql("mutation{deleteProduct(id:\"Teapot\"){id}}").await?;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{refused}");

    let deleted = admin.delete("/api/products/Teapot").await?;
    assert!([200, 204].contains(&deleted.status), "{}", deleted.text());
    anonymous.get("/api/products/Teapot").await?.problem(404)?;
    let listed = anonymous.all("/api/products").await?;
    assert_eq!(listed.len(), 24, "the sample catalogue is unchanged");

    let merged = anonymous.get("/openapi.json").await?.expect(200)?;
    for path in [
        "/api/orders",
        "/api/customers/{id}",
        "/api/stock/levels",
        "/api/notifications/stream",
        "/api/products",
        "/api/payments",
    ] {
        assert!(merged["paths"][path].is_object(), "{path}");
    }
    assert!(merged["x-missing"].is_null());
    let page = anonymous.get("/docs/").await?;
    assert!(page.status == 200 && page.text().contains("swagger"), "{} {}", page.status, page.text());
    let settings = anonymous.get("/docs/swagger-initializer.js").await?.text();
    assert!(settings.contains(r#""validatorUrl": "none""#), "it asks nobody on the internet: {settings}");
    assert!(anonymous.get("/graphql").await?.text().contains("graphiql"));
    let script = anonymous.get("/graphql/assets/graphiql.js").await?;
    assert!(script.status == 200 && script.text().contains("GraphiQL"), "{}", script.status);
    let by_get = anonymous.get("/graphql?query=%7Bcategories%7D").await?.expect(200)?;
    assert!(by_get["data"]["categories"].is_array(), "{by_get}");
    drain_and_audit(fleet).await?;
    Ok(())
}
