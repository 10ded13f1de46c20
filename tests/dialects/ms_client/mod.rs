//! `ms-client`: clients on 5001, products on 5002, orders on 5003, users on 5004, nginx's prefixes on 80.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Rows, eventually, run_curls};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{has_members, port};

async fn login(at: &Client, user: &str, password: &str) -> Result<Client> {
    let body = at.post("/login", &json!({"username": user, "password": password})).await?.expect(200)?;
    has_members(&body, &["token"])?;
    Ok(at.with_token(body["token"].as_str().context("a token")?))
}

fn customer(name: &str) -> Value {
    json!({"nom": name, "prenom": "Ada", "email": format!("{}@exemple.fr", name.to_lowercase()), "telephone": "0612345678",
        "adresse": "1 rue A", "ville": "Paris", "code_postal": "75001", "pays": "France"})
}

/// Clients of all ports with the same token, named by their services.
struct Ports {
    client: Client,
    produit: Client,
    commande: Client,
    utilisateur: Client,
}

impl Ports {
    fn of(token: &str) -> Self {
        let at = |number| port(number).with_token(token);
        Self { client: at(5001), produit: at(5002), commande: at(5003), utilisateur: at(5004) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::dialect(folder.path(), "ms-client", &[]).await?;
    let mut rows = Rows::new("ms-client");
    let unauthorized = json!({"error": "Unauthorized"});
    let forbidden = json!({"error": "Forbidden"});

    rows.row("POST /login, /logout on every service", async {
        for number in [5001, 5002, 5003, 5004] {
            let at = port(number);
            let required = json!({"msg": "Username and password required"});
            at.post("/login", &json!({"username": "admin"})).await?.is(400, &required)?;
            let wrong = json!({"username": "admin", "password": "nope"});
            at.post("/login", &wrong).await?.is(401, &json!({"msg": "Invalid credentials"}))?;
            let first = login(&at, "user1", "userpass").await?;
            let second = login(&at, "user1", "userpass").await?;
            ensure!(first.post("/logout", &json!({})).await?.status == 401, "a new login replaces the old token");
            let out = second.send(second.request(Method::POST, "/logout")).await?;
            out.is(200, &json!({"msg": "Successfully logged out"}))?;
            second.send(second.request(Method::POST, "/logout")).await?.is(401, &unauthorized)?;
        }
        Ok(())
    })
    .await;
    let admin = login(&port(5001), "admin", "password").await?;
    fleet.renew_admin_token().await?;
    let native_admin = fleet.client("admin");
    let (admin, user) = (Ports::of(admin.token()), login(&port(5002), "user1", "userpass").await?);
    let user = Ports::of(user.token());
    rows.row("one token on all services; 401, 403", async {
        for (at, path) in [(&user.client, "/customers"), (&user.produit, "/products"), (&user.commande, "/orders")] {
            at.get(path).await?.expect(200)?;
            at.with_token("unknown").get(path).await?.is(401, &unauthorized)?;
            at.post(path, &json!({})).await?.is(403, &forbidden)?;
        }
        port(5001).get("/customers").await?.is(401, &unauthorized)?;
        user.client.get("/admin-only").await?.is(403, &forbidden)?;
        admin.client.get("/admin-only").await?.is(200, &json!({"msg": "Welcome, admin!"}))?;
        user.utilisateur.get("/protected").await?.expect(200)?;
        port(5004).get("/protected").await?.is(401, &unauthorized)
    })
    .await;
    rows.row("a customer's token is refused", async {
        let (shopper, _) = fleet.anonymous().register("shopper").await?;
        for (number, path) in [(5001, "/customers"), (5002, "/products"), (5003, "/orders")] {
            port(number).with_token(shopper.token()).get(path).await?.is(401, &unauthorized)?;
        }
        Ok(())
    })
    .await;
    rows.row("POST :5004/validate_token", async {
        let validate = |body: Value| async move { port(5004).post("/validate_token", &body).await };
        let good = json!({"valid": true, "user": "admin", "role": "admin"});
        validate(json!({"token": admin.client.token()})).await?.is(200, &good)?;
        let good = json!({"valid": true, "user": "user1", "role": "user"});
        validate(json!({"token": user.client.token()})).await?.is(200, &good)?;
        validate(json!({})).await?.is(400, &json!({"error": "Token is missing"}))?;
        validate(json!({"token": "x"})).await?.is(401, &json!({"valid": false, "error": "Invalid token"}))
    })
    .await;

    rows.row("/customers", async {
        let made = admin.client.post("/customers", &customer("Lovelace")).await?;
        made.is(201, &json!({"id": 2, "nom": "Lovelace", "prenom": "Ada", "email": "lovelace@exemple.fr"}))?;
        let mut shown = customer("Lovelace");
        shown["id"] = 2.into();
        user.client.get("/customers/2").await?.is(200, &shown)?;
        let all = user.client.get("/customers").await?.expect(200)?;
        ensure!(all[1] == shown && all.as_array().map(Vec::len) == Some(2), "{all}");
        user.client.get("/customers/99").await?.is(404, &json!({"message": "Client not found"}))?;
        for (field, value, error) in [
            ("email", json!("nobody"), "Email non valide"),
            ("nom", json!(""), "Nom non valide"),
            ("ville", Value::Null, "Champ manquant: ville"),
        ] {
            let mut bad = customer("Other");
            bad[field] = value;
            admin.client.post("/customers", &bad).await?.is(400, &json!({ "error": error }))?;
        }
        let changed = admin.client.put("/customers/2", &json!({"prenom": "Augusta", "ville": "Lyon"})).await?;
        changed.is(200, &json!({"id": 2, "nom": "Lovelace", "prenom": "Augusta", "email": "lovelace@exemple.fr"}))?;
        let now = user.client.get("/customers/2").await?.expect(200)?;
        ensure!(now["ville"] == "Lyon" && now["pays"] == "France" && now["telephone"] == "0612345678", "{now}");
        admin.client.put("/customers/99", &json!({"nom": "X"})).await?.is(404, &json!({"message": "Client not found"}))
    })
    .await;
    rows.row("/products", async {
        let first = user.produit.get("/products/1").await?.expect(200)?;
        has_members(&first, &["id", "nom", "description", "prix", "stock", "categorie"])?;
        ensure!(first["id"] == 1 && first["prix"] == "100.00" && first["stock"] == 10, "{first}");
        let all = user.produit.get("/products").await?.expect(200)?;
        ensure!(all.as_array().map(Vec::len) == Some(3) && all[0] == first, "{all}");
        user.produit.get("/products/99").await?.is(404, &json!({"message": "Product not found"}))?;
        let new = json!({"nom": "Lampe", "prix": 12.5, "stock": 7, "categorie": "Maison"});
        admin.produit.post("/products", &new).await?.is(201, &json!({"id": 4, "nom": "Lampe"}))?;
        let lamp = user.produit.get("/products/4").await?.expect(200)?;
        ensure!(lamp["prix"] == "12.50" && lamp["stock"] == 7 && lamp["description"].is_null(), "{lamp}");
        let change = json!({"stock": 3, "prix": "15.00"});
        admin.produit.put("/products/4", &change).await?.is(200, &json!({"id": 4, "nom": "Lampe"}))?;
        let lamp = user.produit.get("/products/4").await?.expect(200)?;
        ensure!(lamp["prix"] == "15.00" && lamp["stock"] == 3 && lamp["categorie"] == "Maison", "{lamp}");
        let many = json!({"stock": 50});
        let set = (0..20).map(|_| admin.produit.put("/products/4", &many));
        for response in futures::future::join_all(set).await {
            response?.expect(200)?;
        }
        ensure!(
            user.produit.get("/products/4").await?.expect(200)?["stock"] == 50,
            "set to fifty twenty times at once"
        );
        admin.produit.post("/products", &json!({"nom": "X", "prix": 1, "stock": 1e12})).await?.expect(400)?;
        admin.produit.post("/products", &json!({"nom": "X", "prix": "NaN", "stock": 1})).await?.expect(400)?;
        let all = user.produit.get("/products").await?.expect(200)?;
        ensure!(all.as_array().map(Vec::len) == Some(4), "a refused request created something: {all}");
        admin.produit.delete("/products/4").await?.is(200, &json!({"message": "Product deleted"}))?;
        user.produit.get("/products/4").await?.is(404, &json!({"message": "Product not found"}))
    })
    .await;
    rows.row("/orders", async {
        let new = json!({"client_id": 2, "produit_id": 1, "montant_total": 90});
        let made = admin.commande.post("/orders", &new).await?.expect(201)?;
        has_members(&made, &["id", "client_id", "produit_id", "quantite", "montant_total"])?;
        ensure!(made["id"] == 1 && made["client_id"] == 2 && made["quantite"] == 1, "{made}");
        let shown = user.commande.get("/orders/1").await?.expect(200)?;
        has_members(&shown, &["id", "client_id", "produit_id", "date_commande", "statut", "montant_total"])?;
        ensure!(shown["statut"] == "En cours" && shown["montant_total"] == "90.00", "{shown}");
        ensure!(shown["date_commande"].as_str().is_some_and(|date| date.len() == 10), "{shown}");
        eventually("the pieces are sold", || async {
            let left = user.produit.get("/products/1").await?.expect(200)?;
            Ok((left["stock"] == 9).then_some(()))
        })
        .await?;
        let many = json!({"client_id": 2, "produit_id": 1, "quantite": 50, "montant_total": 1});
        admin.commande.post("/orders", &many).await?.is(409, &json!({"error": "Stock insuffisant"}))?;
        let odd = json!({"client_id": 2, "produit_id": 1, "montant_total": 1, "statut": "Perdue"});
        let refused = admin.commande.post("/orders", &odd).await?.expect(400)?;
        ensure!(refused["error"].as_str().is_some_and(|text| text.contains("En préparation")), "{refused}");
        user.commande.get("/orders/99").await?.is(404, &json!({"message": "Order not found"}))
    })
    .await;
    rows.row("PUT /orders/{id}", async {
        let changed = admin.commande.put("/orders/1", &json!({"montant_total": "85.50"})).await?.expect(200)?;
        ensure!(changed["montant_total"] == "85.50" && changed["statut"] == "En cours", "{changed}");
        for statut in ["Confirmée", "En préparation", "Livrée"] {
            let moved = admin.commande.put("/orders/1", &json!({ "statut": statut })).await?.expect(200)?;
            ensure!(moved["statut"] == statut, "{moved}");
        }
        let back = admin.commande.put("/orders/1", &json!({"statut": "Annulée"})).await?;
        ensure!(back.status == 409, "{}", back.text());
        for (wrong, status) in [("?", 400), ("Annulée", 409), ("En cours", 409)] {
            let odd = json!({"statut": wrong, "montant_total": 3});
            ensure!(admin.commande.put("/orders/1", &odd).await?.status == status, "{wrong}");
        }
        let same = user.commande.get("/orders/1").await?.expect(200)?;
        ensure!(same["montant_total"] == "85.50", "a refused request changed something: {same}");
        let native = native_admin.get("/api/orders?number=1").await?.expect(200)?;
        let history = native["data"][0]["history"].to_string();
        let me = native_admin.get("/api/users/me").await?.expect(200)?;
        let actor = format!(r#""actor":{}"#, me["id"]);
        ensure!(history.contains(&actor) && history.contains("total changed"), "{history}");
        ensure!(!history.contains("dialect:"), "the actor must be the admin: {history}");
        admin.commande.put("/orders/99", &json!({})).await?.is(404, &json!({"message": "Order not found"}))
    })
    .await;
    rows.row("DELETE /orders/{id}", async {
        let new = json!({"client_id": 2, "produit_id": 2, "quantite": 2, "montant_total": 50});
        let made = admin.commande.post("/orders", &new).await?.expect(201)?;
        let path = format!("/orders/{}", made["id"]);
        admin.commande.delete(&path).await?.is(200, &json!({"message": "Order deleted successfully"}))?;
        admin.commande.delete(&path).await?.is(404, &json!({"message": "Order not found"}))?;
        eventually("the pieces are back in stock", || async {
            let left = user.produit.get("/products/2").await?.expect(200)?;
            Ok((left["stock"] == 25).then_some(()))
        })
        .await
    })
    .await;
    rows.row("GET /notifications", async {
        let page = user.client.get("/notifications").await?.expect(200)?;
        let first = page[0].as_str().context("a text")?;
        ensure!(
            first == "Received order notification for client: {'order_id': 1, 'client_id': 2, 'produit_id': 1, 'quantite': 1, 'montant_total': '85.50'}",
            "{page}"
        );
        let page = user.produit.get("/notifications").await?.expect(200)?;
        let texts: Vec<&str> = page.as_array().context("an array")?.iter().filter_map(Value::as_str).collect();
        ensure!(texts.contains(&"Stock updated for product 1. New stock: 9"), "{texts:?}");
        ensure!(texts.contains(&"Stock update failed for product 1. Not enough stock."), "{texts:?}");
        user.commande.get("/notifications").await?.expect(200)?;
        Ok(())
    })
    .await;
    rows.row("DELETE /customers/{id}", async {
        let made = admin.client.post("/customers", &customer("Hopper")).await?.expect(201)?;
        let new = json!({"client_id": made["id"], "produit_id": 3, "montant_total": 179});
        admin.commande.post("/orders", &new).await?.expect(201)?;
        let path = format!("/customers/{}", made["id"]);
        admin.client.delete(&path).await?.is(200, &json!({"message": "Client deleted successfully"}))?;
        admin.client.delete(&path).await?.is(404, &json!({"message": "Client not found"}))?;
        eventually("the customer's open order is cancelled", || async {
            let left = user.produit.get("/products/3").await?.expect(200)?;
            Ok((left["stock"] == 50).then_some(()))
        })
        .await
    })
    .await;
    rows.row("GET / and /metrics", async {
        for (at, service) in [(&user.client, "CUSTOMER"), (&user.produit, "PRODUCT"), (&user.commande, "ORDER")] {
            let text = format!("Welcome to the {service}'s API. The service is up and running!");
            at.get("/").await?.is(200, &json!({ "msg": text }))?;
        }
        for (number, names) in [
            (5001, ["client_requests_total", "client_processing_seconds"]),
            (5002, ["product_requests_total", "product_processing_seconds"]),
            (5003, ["commande_requests_total", "commande_processing_seconds"]),
        ] {
            let text = port(number).get("/metrics").await?.text();
            ensure!(names.iter().all(|name| text.contains(name)), "{number}");
        }
        Ok(())
    })
    .await;
    rows.row("nginx's prefixes", async {
        for (at, prefix) in [("5001", "client"), ("5002", "produit"), ("5003", "commande"), ("5004", "utilisateur")] {
            let path = format!("/compat/ms-client/80/api/{prefix}-service/");
            let body = fleet.anonymous().get(&path).await?.expect(200)?;
            ensure!(body["msg"].is_string(), "{at}: {body}");
        }
        let path = "/compat/ms-client/80/api/client-service/customers/2";
        let request = fleet.anonymous().with_token(user.client.token());
        ensure!(request.get(path).await?.expect(200)?["nom"] == "Lovelace");
        Ok(())
    })
    .await;
    rows.row("the documented curls", async {
        let outputs = run_curls(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dialects/ms_client/curls.sh"))).await?;
        let output = |name: &str| outputs.iter().find(|(named, _)| named == name).map_or("", |(_, text)| text);
        ensure!(output("login").contains("token") && output("welcome").contains("PRODUCT"), "{outputs:?}");
        ensure!(output("customers without a token") == r#"{"error":"Unauthorized"}"#, "{outputs:?}");
        Ok(())
    })
    .await;
    // The login in the documented curls has revoked the token.
    fleet.renew_admin_token().await?;
    rows.finish(fleet).await.map(drop)
}
