//! `quartet`: gateway on 3000, users on 3001, GraphQL on 3002, orders on 3003, payments by gRPC.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fleet_tests::{Client, Fleet, Rows, eventually, run_curls};
use proto::legacy::{PaymentRequest, payment_service_client::PaymentServiceClient};
use serde_json::{Value, json};

use crate::{has_members, port};

async fn order(gateway: &Client, body: &Value) -> Result<String> {
    let placed = gateway.post("/orders", body).await?.expect(201)?;
    ensure!(placed["success"] == true, "{placed}");
    ensure!(placed["message"] == "Commande créée et envoyée pour traitement", "{placed}");
    ensure!(placed["warning"].is_null(), "a warning although the broker is available: {placed}");
    Ok(placed["orderId"].as_str().context("an id")?.to_owned())
}

async fn wait_for_status(orders: &Client, id: &str, status: &str) -> Result<Value> {
    eventually(&format!("{id} is {status}"), || async {
        let order = orders.get(&format!("/orders/{id}")).await?.expect(200)?;
        Ok((order["status"] == status).then_some(order))
    })
    .await
}

async fn pay(fleet: &Fleet, order_id: &str, amount: f32) -> Result<String> {
    let mut client = PaymentServiceClient::connect(fleet.grpc("payment")).await?;
    let request = PaymentRequest { order_id: order_id.to_owned(), amount };
    Ok(client.pay(request).await?.into_inner().status)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::dialect(folder.path(), "quartet", &[]).await?;
    let (gateway, users, graphql, orders) = (port(3000), port(3001), port(3002), port(3003));
    let admin = fleet.client("admin");
    let mut rows = Rows::new("quartet");
    let alice = json!({"username": "ada", "email": "Ada@example.com", "password": "password123"});

    rows.row("POST /users/register", async {
        let made = gateway.post("/users/register", &alice).await?.expect(201)?;
        has_members(&made, &["success", "message", "userId"])?;
        ensure!(made["success"] == true && made["message"] == "Utilisateur enregistré avec succès", "{made}");
        let again = json!({"success": false, "message": "Utilisateur ou email déjà utilisé"});
        gateway.post("/users/register", &alice).await?.is(400, &again)?;
        let same_mail = json!({"username": "other", "email": "ADA@EXAMPLE.COM", "password": "password123"});
        gateway.post("/users/register", &same_mail).await?.is(400, &again)?;
        let bob = json!({"username": "bob", "email": "bob@example.com", "password": "password123"});
        users.post("/register", &bob).await?.expect(201)?;
        Ok(())
    })
    .await;
    rows.row("POST /users/login", async {
        for (at, path) in [(&gateway, "/users/login"), (&users, "/login")] {
            let body = json!({"email": "ada@EXAMPLE.com", "password": "password123"});
            let body = at.post(path, &body).await?.expect(200)?;
            ensure!(body["success"] == true && body["message"] == "Connexion réussie", "{body}");
            has_members(&body["user"], &["id", "username", "email"])?;
            ensure!(body["user"]["email"] == "ada@example.com" && body["user"]["username"] == "ada", "{body}");
            let token = body["token"].as_str().context("a token")?;
            let claims: Value = serde_json::from_slice(&base64_part(token, 1)?)?;
            has_members(&claims, &["id", "email", "username", "iat", "exp"])?;
            ensure!(claims["id"] == body["user"]["id"], "{claims}");
            ensure!(
                claims["exp"].as_i64() == claims["iat"].as_i64().map(|iat| iat + 3600),
                "the token must expire after an hour: {claims}"
            );
            let unknown_user = json!({"success": false, "message": "Utilisateur non trouvé"});
            at.post(path, &json!({"email": "x@example.com", "password": "password123"}))
                .await?
                .is(404, &unknown_user)?;
            let wrong = json!({"success": false, "message": "Mot de passe incorrect"});
            at.post(path, &json!({"email": "ada@example.com", "password": "wrong-one"})).await?.is(401, &wrong)?;
        }
        Ok(())
    })
    .await;
    rows.row("GET /products", async {
        let body = gateway.get("/products").await?.expect(200)?;
        let products = body["products"].as_array().context("products")?;
        ensure!(products.len() == 4, "{body}");
        has_members(&products[0], &["id", "name", "price", "description"])?;
        let expected = [
            ("1", "Smartphone", 899.99),
            ("2", "Ordinateur portable", 1299.99),
            ("3", "Tablette", 499.99),
            ("4", "Écouteurs sans fil", 149.99),
        ];
        for (product, (id, name, price)) in products.iter().zip(expected) {
            ensure!(product["id"] == id && product["name"] == name && product["price"] == price, "{product}");
        }
        ensure!(products[0]["description"] == "Dernier modèle de smartphone haut de gamme", "{body}");
        Ok(())
    })
    .await;
    rows.row("GET /products/{id}", async {
        let body = gateway.get("/products/2").await?.expect(200)?;
        ensure!(body["product"]["name"] == "Ordinateur portable", "{body}");
        gateway.get("/products/99").await?.is(404, &json!({"product": null}))
    })
    .await;

    let login = json!({"email": "ada@example.com", "password": "password123"});
    let ada = gateway.post("/users/login", &login).await?.expect(200)?["user"]["id"].clone();
    rows.row("POST /orders", async {
        let one = order(&gateway, &json!({"userId": ada, "productId": "4", "quantity": 2})).await?;
        let done = wait_for_status(&orders, &one, "processed").await?;
        has_members(&done, &["id", "userId", "productId", "quantity", "status", "createdAt"])?;
        ensure!(done["userId"] == ada && done["productId"] == "4" && done["quantity"] == 2, "{done}");
        let native = admin.get(&format!("/api/orders/{one}")).await?.expect(200)?;
        ensure!(
            native["total"] == 299.98 && native["payment"]["status"] == "captured",
            "must be charged once: {native}"
        );
        let products = json!([{"productId": "1", "quantity": 1}, {"productId": 3, "quantity": 2}]);
        let two = order(&orders, &json!({"userId": "42", "products": products})).await?;
        let done = wait_for_status(&gateway, &two, "processed").await?;
        ensure!(done["userId"] == "42" && done["products"][1] == json!({"productId": "3", "quantity": 2}), "{done}");
        let as_text = order(&gateway, &json!({"userId": ada, "productId": 1, "quantity": "2"})).await?;
        ensure!(wait_for_status(&orders, &as_text, "processed").await?["quantity"] == 2);
        let short = order(&gateway, &json!({"userId": ada, "productId": "1", "quantity": 5000})).await?;
        wait_for_status(&orders, &short, "cancelled").await?;
        gateway.post("/orders", &json!({"userId": ada, "productId": "none", "quantity": 1})).await?.expect(400)?;
        gateway.post("/orders", &json!({"productId": "1"})).await?.expect(400)?;
        Ok(())
    })
    .await;
    rows.row("new-order from another program", async {
        let order = json!({"id": "outside-1", "userId": "42", "productId": "2", "quantity": 1, "status": "pending"});
        for _ in 0..2 {
            fleet_tests::publish(fleet.data(), "new-order", "outside-1", &order.to_string()).await?;
        }
        let done = eventually("the order is processed", || async {
            let order = orders.get("/orders/outside-1").await?;
            Ok((order.status == 200 && order.json()?["status"] == "processed").then_some(order.json()?))
        })
        .await?;
        ensure!(done["userId"] == "42" && done["productId"] == "2", "{done}");
        Ok(())
    })
    .await;
    rows.row("GET /orders, GET /orders/{id}", async {
        for at in [&gateway, &orders] {
            let all = at.get("/orders").await?.expect(200)?;
            let all = all.as_array().context("a bare array")?;
            ensure!(all.len() >= 3 && all.iter().all(|order| order["createdAt"].is_string()), "{all:?}");
        }
        orders.get("/orders/none").await?.is(404, &json!({"success": false, "message": "Commande non trouvée"}))
    })
    .await;
    rows.row("POST /payments", async {
        let id = order(&gateway, &json!({"userId": ada, "productId": "4", "quantity": 1})).await?;
        let paid = json!({"success": true, "message": "Paiement traité avec succès", "status": "SUCCESS"});
        let refused = json!({"success": false, "message": "Paiement refusé", "status": "DECLINED"});
        // The saga may still be running; the order must be charged once all the same.
        for _ in 0..2 {
            gateway.post("/payments", &json!({"orderId": id, "amount": 149.99})).await?.is(200, &paid)?;
        }
        gateway.post("/payments", &json!({"orderId": id, "amount": 1.0})).await?.is(402, &refused)?;
        let payments = admin.get(&format!("/api/payments?order_id={id}")).await?.expect(200)?;
        ensure!(payments["data"].as_array().map(Vec::len) == Some(1), "{payments}");
        ensure!(payments["data"][0]["amount"] == 149.99, "{payments}");
        let foreign = json!({"orderId": "elsewhere-1", "amount": 20.5});
        for _ in 0..2 {
            gateway.post("/payments", &foreign).await?.is(200, &paid)?;
        }
        let other = json!({"orderId": "elsewhere-1", "amount": 21});
        gateway.post("/payments", &other).await?.is(402, &refused)?;
        Ok(())
    })
    .await;
    rows.row("GET /", async {
        let body = gateway.get("/").await?.expect(200)?;
        ensure!(body["message"] == "API Gateway pour architecture microservices", "{body}");
        has_members(&body["endpoints"], &["users", "products", "orders", "payments"])
    })
    .await;
    rows.row("GraphQL :3002", async {
        let graphql_request = async |query: &str| graphql.post("/", &json!({ "query": query })).await?.expect(200);
        let body = graphql_request("{products{id name price description} product(id:\"1\"){name}}").await?;
        ensure!(body["data"]["product"]["name"] == "Smartphone", "{body}");
        let made =
            graphql_request("mutation{addProduct(name:\"Souris\",price:19.9,description:\"Optique\"){id name price}}")
                .await?;
        let id = made["data"]["addProduct"]["id"].as_str().with_context(|| made.to_string())?.to_owned();
        let changed =
            graphql_request(&format!("mutation{{updateProduct(id:\"{id}\",price:18.5){{price name}}}}")).await?;
        ensure!(changed["data"]["updateProduct"] == json!({"price": 18.5, "name": "Souris"}), "{changed}");
        let deleted = graphql_request(&format!("mutation{{deleteProduct(id:\"{id}\"){{id}}}}")).await?;
        ensure!(deleted["data"]["deleteProduct"]["id"] == id.as_str(), "{deleted}");
        for mutation in ["updateProduct(id:\"77\",price:1){id}", "deleteProduct(id:\"77\"){id}"] {
            let missing = graphql_request(&format!("mutation{{{mutation}}}")).await?;
            ensure!(missing["errors"][0]["message"] == "Produit avec l'ID 77 non trouvé", "{missing}");
        }
        let missing = graphql_request("{product(id:\"77\"){id}}").await?;
        ensure!(missing["data"]["product"].is_null() && missing["errors"].is_null(), "{missing}");
        for path in ["/", "/graphql"] {
            let by_get =
                graphql.get(&format!("{path}?query=%7Bproduct(id:%221%22)%7Bname%7D%7D")).await?.expect(200)?;
            ensure!(by_get["data"]["product"]["name"] == "Smartphone", "{by_get}");
            ensure!(graphql.get(path).await?.text().contains("graphql/assets/page.js"), "the page");
        }
        ensure!(graphql.get("/graphql/assets/page.js").await?.status == 200);
        Ok(())
    })
    .await;
    rows.row("gRPC Pay, no package", async {
        ensure!(pay(&fleet, "elsewhere-2", 12.5).await? == "SUCCESS");
        ensure!(pay(&fleet, "elsewhere-2", 12.5).await? == "SUCCESS", "must be the same response");
        ensure!(pay(&fleet, "elsewhere-2", 13.0).await? == "DECLINED", "must be declined for another amount");
        Ok(())
    })
    .await;
    rows.row("the documented curls", async {
        let outputs = run_curls(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dialects/quartet/curls.sh"))).await?;
        for (name, part) in [
            ("register", "Utilisateur enregistré avec succès"),
            ("login", "Connexion réussie"),
            ("products", "Écouteurs sans fil"),
            ("order", "Commande créée et envoyée pour traitement"),
            ("payment", "Paiement traité avec succès"),
            ("GraphQL", "Tablette"),
        ] {
            let Some((_, text)) = outputs.iter().find(|(named, _)| named == name) else { bail!("no {name}") };
            ensure!(text.contains(part), "{name}: {text}");
        }
        Ok(())
    })
    .await;
    rows.finish(fleet).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_require_auth_orders_and_payments_require_a_token() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::dialect(folder.path(), "quartet", &[("SOUK_GATEWAY_QUARTET_REQUIRE_AUTH", "true")]).await?;
    let gateway = port(3000);
    let missing = json!({"success": false, "message": "Access token missing"});
    let invalid = json!({"success": false, "message": "Invalid or expired token"});
    gateway.get("/orders").await?.is(401, &missing)?;
    gateway.post("/payments", &json!({})).await?.is(401, &missing)?;
    gateway.with_token("nonsense").get("/orders").await?.is(403, &invalid)?;
    // A native token of the fleet is not valid for the dialect.
    gateway.with_token(fleet.client("admin").token()).get("/orders").await?.is(403, &invalid)?;
    gateway.get("/products").await?.expect(200)?;
    let ada = json!({"username": "ada", "email": "ada@example.com", "password": "password123"});
    gateway.post("/users/register", &ada).await?.expect(201)?;
    let login = gateway.post("/users/login", &ada).await?.expect(200)?;
    let token = login["token"].as_str().context("a token")?;
    gateway.with_token(token).get("/orders").await?.is(200, &json!([]))?;
    fleet.terminate().await
}

fn base64_part(token: &str, part: usize) -> Result<Vec<u8>> {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    Ok(BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(part).context("a part")?)?)
}
