//! The services clients, carts, orders, stock and payments.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Rows, eventually};
use serde_json::{Value, json};

use super::{detail, has_members, list, port};

async fn client(name: &str) -> Result<Value> {
    let body = json!({"nom": name, "email": format!("{name}@magasins.example")});
    port(8001).post("/clients", &body).await?.expect(200)
}

pub(super) async fn rows(rows: &mut Rows, admin: &Client) {
    stock(rows, admin).await;
    rows.row("POST :8008/paiement", async {
        let pay = |id: Value, amount: Value| async move {
            port(8008).post("/paiement", &json!({"id": id, "montant": amount})).await
        };
        let accepted = json!({"status": "paiement accepté", "commande_id": "cmd-1"});
        pay(json!("cmd-1"), json!(350)).await?.is(200, &accepted)?;
        pay(json!("cmd-1"), json!(350.0)).await?.is(200, &accepted)?;
        pay(json!(12), json!(500)).await?.is(200, &json!({"status": "paiement accepté", "commande_id": 12}))?;
        let too_high = "Paiement refusé : montant trop élevé (600 > 500)";
        detail(&pay(json!("cmd-2"), json!(600)).await?, 400, too_high)?;
        detail(&port(8080).post("/paiement/", &json!({"id": "cmd-2", "montant": 600})).await?, 400, too_high)?;
        let too_high = "Paiement refusé : montant trop élevé (500.5 > 500)";
        detail(&pay(json!("cmd-3"), json!(500.5)).await?, 400, too_high)?;
        detail(&pay(json!("cmd-1"), json!(10)).await?, 400, "Paiement refusé")?;
        pay(json!("cmd-4"), Value::Null).await?.expect(422)?;
        detail(&pay(json!("cmd-4"), json!(-1)).await?, 400, "montant non valide")?;
        pay(json!("cmd-4"), json!(0.1 + 0.2)).await?.expect(200)?;
        pay(json!("cmd-4"), json!(0.3)).await?.expect(200)?;
        // An order of the fleet itself is not paid twice.
        let saga =
            port(8002).post("/saga/commande/", &json!({"produits": [{"id": 3, "qte": 1}]})).await?.expect(200)?;
        let id = &saga["commande_id"];
        pay(id.clone(), json!(30)).await?.is(200, &json!({"status": "paiement accepté", "commande_id": id}))?;
        detail(&pay(id.clone(), json!(31)).await?, 400, "Paiement refusé")
    })
    .await;
    rows.row("GET, POST :8080/clients", async {
        let made = client("ada").await?;
        has_members(&made, &["id", "nom", "email"])?;
        ensure!(made["id"] == 1 && made["nom"] == "ada" && made["email"] == "ada@magasins.example", "{made}");
        client("bob").await?;
        let body = port(8080).get("/clients").await?.expect(200)?;
        ensure!(list(&body)?.len() == 2 && body[0] == made, "{body}");
        port(8001).get("/clients/").await?.is(200, &body)?;
        let wrong = port(8080).post("/clients", &json!({"nom": "x"})).await?.expect(422)?;
        ensure!(wrong["detail"][0]["loc"] == json!(["body", "email"]), "{wrong}");
        Ok(())
    })
    .await;
    carts(rows).await;
    orders(rows, admin).await;
}

async fn stock(rows: &mut Rows, admin: &Client) {
    let stock =
        |call: &'static str, body: Value| async move { port(8007).post(&format!("/stock/{call}"), &body).await };
    let of = |id: Value, pieces: i64| json!({"produits": [{"id": id, "qte": pieces}]});
    rows.row("POST :8007/stock/verifier, prix", async {
        stock("verifier", of(json!("produit_3"), 2)).await?.is(200, &json!({"status": "ok"}))?;
        let both = json!({"produits": [{"id": 1, "qte": 1}, {"produit_id": "produit_2", "quantite": 1}]});
        stock("prix", both).await?.is(200, &json!({"montant_total": 350}))?;
        for call in ["verifier", "prix", "reserver"] {
            detail(&stock(call, of(json!("produit_9"), 1)).await?, 400, "Produit inconnu: produit_9")?;
            detail(&stock(call, of(json!("THÉ"), 1)).await?, 400, "Produit inconnu: THÉ")?;
        }
        for call in ["verifier", "reserver"] {
            detail(&stock(call, of(json!("produit_2"), 999)).await?, 400, "Stock insuffisant pour produit_2")?;
            detail(&stock(call, of(json!(2), 999)).await?, 400, "Stock insuffisant pour 2")?;
        }
        Ok(())
    })
    .await;
    rows.row("POST :8007/stock/reserver, liberer: reserved, released, reserved again", async {
        let (on_hand, _) = admin.level("3", "en-ligne").await?;
        let mut body = of(json!(3), 4);
        body["id"] = "panier-7".into();
        let reserved = json!({"status": "reserve", "stock": {"3": on_hand - 4}});
        let released = json!({"status": "libere", "stock": {"3": on_hand}});
        stock("reserver", body.clone()).await?.is(200, &reserved)?;
        stock("reserver", body.clone()).await?.is(200, &reserved)?;
        ensure!(admin.level("3", "en-ligne").await? == (on_hand, 4));
        stock("liberer", body.clone()).await?.is(200, &released)?;
        stock("liberer", body.clone()).await?.is(200, &released)?;
        stock("reserver", body.clone()).await?.is(200, &reserved)?;
        let all = stock("liberer", json!({"id": "panier-7"})).await?.expect(200)?;
        ensure!(all["status"] == "libere" && all["stock"]["3"] == on_hand && all["stock"]["4"] == 50, "{all}");
        let generated = stock("reserver", of(json!(3), 1)).await?.expect(200)?;
        has_members(&generated, &["status", "stock", "id"])?;
        let release = json!({"id": generated["id"], "produits": [{"id": 3, "qte": 1}]});
        stock("liberer", release).await?.is(200, &released)?;
        stock("liberer", of(json!(3), 1)).await?.expect(422)?;
        // After a release the id can be reserved again, also with other pieces.
        let q1 = |pieces| json!({"id": "q1", "produits": [{"id": 4, "qte": pieces}]});
        stock("reserver", q1(1)).await?.is(200, &json!({"status": "reserve", "stock": {"4": 49}}))?;
        stock("liberer", q1(1)).await?.is(200, &json!({"status": "libere", "stock": {"4": 50}}))?;
        stock("reserver", q1(2)).await?.is(200, &json!({"status": "reserve", "stock": {"4": 48}}))?;
        stock("liberer", q1(2)).await?.is(200, &json!({"status": "libere", "stock": {"4": 50}}))?;
        for wrong in [json!("é"), json!("a b"), json!("a/b"), json!(""), json!({}), json!("a".repeat(51))] {
            for call in ["reserver", "liberer"] {
                let body = json!({"id": wrong, "produits": [{"id": 3, "qte": 1}]});
                detail(&stock(call, body).await?, 422, "id non valide")?;
            }
        }
        ensure!(admin.level("3", "en-ligne").await? == (on_hand, 0));
        Ok(())
    })
    .await;
}

async fn carts(rows: &mut Rows) {
    rows.row("GET, POST, DELETE /panier: one cart on all instances", async {
        let (one, two) = (port(8010), port(8011));
        let body = json!({"client_id": 1, "produit_id": 3, "quantite": 2});
        let item = one.post("/panier", &body).await?.expect(200)?;
        has_members(&item, &["id", "client_id", "produit_id", "quantite"])?;
        ensure!(item["client_id"] == 1 && item["produit_id"] == 3 && item["quantite"] == 2, "{item}");
        let more = json!({"client_id": 1, "produit_id": 4, "quantite": 1});
        let other = two.post("/panier/", &more).await?.expect(200)?;
        for port in [&one, &two, &port(8080)] {
            port.get("/panier/1").await?.is(200, &json!([item, other]))?;
        }
        two.get("/panier/2").await?.is(200, &json!([]))?;
        let path = format!("/panier/{}", item["id"]);
        two.delete(&path).await?.is(200, &json!({"message": "Item supprimé"}))?;
        one.get("/panier/1").await?.is(200, &json!([other]))?;
        detail(&one.delete(&path).await?, 404, "Item non trouvé")?;
        detail(&one.get("/panier/99").await?, 404, "Client non trouvé")?;
        let unknown_client = json!({"client_id": 99, "produit_id": 3, "quantite": 2});
        detail(&one.post("/panier", &unknown_client).await?, 404, "Client non trouvé")?;
        let unknown_product = json!({"client_id": 1, "produit_id": 99, "quantite": 2});
        detail(&one.post("/panier", &unknown_product).await?, 404, "Produit non trouvé")
    })
    .await;
}

async fn orders(rows: &mut Rows, admin: &Client) {
    rows.row("GET :8080/commande/{id}, POST /commande", async {
        let body = json!({"client_id": 2, "produits": [{"id": 3, "quantite": 2}]});
        let placed = port(8080).post("/commande", &body).await?.expect(200)?;
        has_members(&placed, &["client_id", "id", "statut"])?;
        ensure!(placed["client_id"] == 2 && placed["statut"] == "CONFIRMEE", "{placed}");
        let id = placed["id"].as_str().context("id")?;
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        for path in [format!("/commande/{id}"), format!("/commande/{id}/"), format!("/commande/{}", order["number"])] {
            port(8006).get(&path).await?.is(200, &placed).with_context(|| path.clone())?;
            port(8080).get(&path).await?.is(200, &placed)?;
        }
        for path in ["/commande/nope", "/commande/987654"] {
            detail(&port(8006).get(path).await?, 404, "Commande non trouvée")?;
        }
        let too_expensive = json!({"client_id": 2, "produits": [{"id": 4, "quantite": 10}]});
        let refused = port(8006).post("/commande/", &too_expensive).await?.expect(200)?;
        ensure!(refused["statut"] == "ANNULEE" && refused["id"].is_string(), "{refused}");
        let unknown_client = json!({"client_id": 99, "produits": [{"id": 3, "quantite": 2}]});
        detail(&port(8006).post("/commande", &unknown_client).await?, 404, "Client non trouvé")?;
        let unknown_product = json!({"client_id": 1, "produits": [{"id": 99, "quantite": 2}]});
        detail(&port(8006).post("/commande", &unknown_product).await?, 400, "Produit inconnu: 99")
    })
    .await;
    rows.row("POST :8006/commande/{id}/etat", async {
        let before = admin.level("3", "en-ligne").await?;
        let body = json!({"client_id": 1, "produits": [{"id": 3, "quantite": 1}]});
        let placed = port(8006).post("/commande", &body).await?.expect(200)?;
        let id = placed["id"].as_str().context("id")?;
        let path = format!("/commande/{id}/etat");
        let etat = |etat: &'static str| {
            let path = path.clone();
            async move { port(8006).post(&path, &json!({"etat": etat})).await }
        };
        etat("CONFIRMEE").await?.is(200, &json!({"id": id, "etat": "CONFIRMEE"}))?;
        for other in ["CREEE", "STOCK_VERIFIE", "STOCK_RESERVE", "PAYEE"] {
            let message = format!("Transition impossible de CONFIRMEE vers {other}");
            detail(&etat(other).await?, 409, &message)?;
        }
        ensure!(etat("EXPEDIEE").await?.expect(400)?["detail"].is_string());
        etat("ANNULEE").await?.is(200, &json!({"id": id, "etat": "ANNULEE"}))?;
        etat("ANNULEE").await?.is(200, &json!({"id": id, "etat": "ANNULEE"}))?;
        detail(&etat("CONFIRMEE").await?, 409, "Transition impossible de ANNULEE vers CONFIRMEE")?;
        let missing = port(8006).post("/commande/nope/etat", &json!({"etat": "ANNULEE"})).await?;
        detail(&missing, 404, "Commande non trouvée")?;
        eventually("the pieces are back in stock", || async {
            Ok((admin.level("3", "en-ligne").await? == before).then_some(()))
        })
        .await
    })
    .await;
}
