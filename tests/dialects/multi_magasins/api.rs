//! Port 8003: stores, logistics centre, head office.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Rows};
use serde_json::{Value, json};

use super::{detail, has_members, list, port};

async fn api(method: reqwest::Method, path: &str) -> Result<fleet_tests::Response> {
    let api = port(8003);
    api.send(api.request(method, &format!("/api/v1{path}"))).await
}

async fn post(path: &str) -> Result<fleet_tests::Response> {
    api(reqwest::Method::POST, path).await
}

async fn get(path: &str) -> Result<Value> {
    api(reqwest::Method::GET, path).await?.expect(200)
}

/// The stock of a product in a store, or in the logistics centre for `None`.
async fn stock_level(store: Option<i64>, product: i64) -> Result<i64> {
    let path = store.map_or("/logistique/stock".to_owned(), |store| format!("/magasins/{store}/stock"));
    let stock = get(&path).await?;
    let row = list(&stock)?.iter().find(|row| row["produit_id"] == product).context("a product")?;
    row["quantite"].as_i64().context("quantite")
}

async fn find_request(number: &Value) -> Result<Value> {
    let all = get("/logistique/demandes").await?;
    list(&all)?.iter().find(|row| row["id"] == *number).cloned().context("the request")
}

pub(super) async fn rows(rows: &mut Rows, admin: &Client) {
    rows.row("GET :8003/api/v1/magasins/{id}/stock", async {
        let body = get("/magasins/1/stock").await?;
        ensure!(list(&body)?.len() == 4, "{body}");
        ensure!(body[0] == json!({"produit_id": 1, "nom": "Produit 1", "quantite": 50}), "{body}");
        // 6 is the logistics centre and 7 the online shop, which are not stores.
        for none in ["6", "7", "en-ligne", "99", "x"] {
            let response = api(reqwest::Method::GET, &format!("/magasins/{none}/stock")).await?;
            detail(&response, 404, "Magasin non trouvé")?;
        }
        Ok(())
    })
    .await;
    rows.row("POST …/magasins/{id}/produits/{pid}/vente", async {
        let sold = post("/magasins/1/produits/1/vente?quantite=3").await?.expect(200)?;
        has_members(&sold, &["message", "magasin_id", "produit_id", "quantite_restante"])?;
        ensure!(sold["magasin_id"] == 1 && sold["produit_id"] == 1 && sold["quantite_restante"] == 47, "{sold}");
        ensure!(stock_level(Some(1), 1).await? == 47);
        let sales = admin.all("/api/orders?channel=store&place_id=magasin-1").await?;
        ensure!(sales.len() == 1 && sales[0]["payment"]["method"] == "cash", "{sales:?}");
        ensure!(sales[0]["total"] == 300 && sales[0]["status"] == "delivered", "{sales:?}");
        let short = post("/magasins/1/produits/1/vente?quantite=48").await?;
        detail(&short, 400, "Stock insuffisant")?;
        detail(&post("/magasins/99/produits/1/vente?quantite=1").await?, 404, "Magasin non trouvé")?;
        detail(&post("/magasins/7/produits/1/vente?quantite=1").await?, 404, "Magasin non trouvé")?;
        detail(&post("/magasins/1/produits/99/vente?quantite=1").await?, 404, "Produit non trouvé")?;
        for wrong in ["", "?quantite=0", "?quantite=x"] {
            post(&format!("/magasins/1/produits/1/vente{wrong}")).await?.expect(422)?;
        }
        // The payment limit does not apply to cash.
        post("/magasins/2/produits/2/vente?quantite=10").await?.expect(200)?;
        Ok(())
    })
    .await;
    logistics(rows).await;
    head_office(rows).await;
}

async fn logistics(rows: &mut Rows) {
    rows.row("GET …/logistique/stock, …/demandes; POST …/demande", async {
        let body = get("/logistique/stock").await?;
        ensure!(body[0] == json!({"produit_id": 1, "nom": "Produit 1", "quantite": 100}), "{body}");
        let before = list(&get("/logistique/demandes").await?)?.len();
        let requested = post("/logistique/demande?magasin_id=3&produit_id=2&quantite=7").await?;
        requested.is(200, &json!("Demande envoyée au centre logistique."))?;
        let all = get("/logistique/demandes").await?;
        let row = list(&all)?.last().context("a row")?;
        has_members(row, &["id", "produit_id", "magasin_id", "quantite", "statut"])?;
        ensure!(list(&all)?.len() == before + 1 && row["statut"] == "en_attente", "{all}");
        ensure!(row["produit_id"] == 2 && row["magasin_id"] == 3 && row["quantite"] == 7, "{row}");
        detail(&post("/logistique/demande?magasin_id=99&produit_id=2&quantite=7").await?, 404, "Magasin non trouvé")?;
        detail(&post("/logistique/demande?magasin_id=7&produit_id=2&quantite=7").await?, 404, "Magasin non trouvé")?;
        detail(&post("/logistique/demande?magasin_id=3&produit_id=99&quantite=7").await?, 404, "Produit non trouvé")?;
        post("/logistique/demande?magasin_id=3&produit_id=2").await?.expect(422)?;
        Ok(())
    })
    .await;
    rows.row("POST …/logistique/demandes/{id}/valider", async {
        let all = get("/logistique/demandes").await?;
        let id = list(&all)?.last().context("a row")?["id"].clone();
        let path = format!("/logistique/demandes/{id}/valider");
        // Twice concurrently, and once more: the stock moves once.
        let (one, two) = tokio::join!(post(&path), post(&path));
        one?.expect(200)?;
        two?.expect(200)?;
        ensure!(find_request(&id).await?["statut"] == "validee");
        ensure!((stock_level(Some(3), 2).await?, stock_level(None, 2).await?) == (57, 93), "the stock must move");
        post(&path).await?.expect(200)?;
        ensure!((stock_level(Some(3), 2).await?, stock_level(None, 2).await?) == (57, 93), "the stock must move once");
        detail(&post("/logistique/demandes/987/valider").await?, 404, "Demande non trouvée")?;
        post("/logistique/demande?magasin_id=3&produit_id=2&quantite=5000").await?.expect(200)?;
        let all = get("/logistique/demandes").await?;
        let id = list(&all)?.last().context("a row")?["id"].clone();
        let short = post(&format!("/logistique/demandes/{id}/valider")).await?;
        detail(&short, 400, "Stock logistique insuffisant pour le produit 2.")?;
        ensure!(find_request(&id).await?["statut"] == "en_cours");
        Ok(())
    })
    .await;
    rows.row("POST …/logistique/approvisionner, …/verifier_reapprovisionnement", async {
        let sent = post("/logistique/approvisionner?magasin_id=4&produit_id=3&quantite=10").await?;
        sent.is(200, &json!("10 unités du produit 3 envoyées au magasin 4."))?;
        ensure!((stock_level(Some(4), 3).await?, stock_level(None, 3).await?) == (60, 90));
        let short = post("/logistique/approvisionner?magasin_id=4&produit_id=3&quantite=91").await?;
        short.is(200, &json!("Stock logistique insuffisant pour le produit 3."))?;
        let check = "/logistique/verifier_reapprovisionnement?magasin_id=4&produit_id=3";
        post(check).await?.is(200, &json!("Stock suffisant pour le produit 3."))?;
        post("/magasins/4/produits/3/vente?quantite=40").await?.expect(200)?;
        post(check).await?.is(200, &json!("Stock suffisant pour le produit 3."))?;
        post("/magasins/4/produits/3/vente?quantite=2").await?.expect(200)?;
        post(check).await?.is(200, &json!("22 unités du produit 3 envoyées au magasin 4."))?;
        ensure!((stock_level(Some(4), 3).await?, stock_level(None, 3).await?) == (40, 68));
        detail(
            &post("/logistique/approvisionner?magasin_id=9&produit_id=3&quantite=1").await?,
            404,
            "Magasin non trouvé",
        )
    })
    .await;
}

async fn head_office(rows: &mut Rows) {
    rows.row("GET …/maison-mere/rapport-ventes", async {
        let body = get("/maison-mere/rapport-ventes").await?;
        has_members(&body, &["ventes_par_magasin", "produits_vendus", "stock_restants"])?;
        let of = |name: &str| -> Result<Value> {
            let rows = list(&body["ventes_par_magasin"])?;
            Ok(rows.iter().find(|row| row["nom"] == name).cloned().unwrap_or_default())
        };
        ensure!(of("Plateau")? == json!({"nom": "Plateau", "total_ventes": 300}), "{body}");
        ensure!(of("Rosemont")?["total_ventes"] == 2_500 && of("Verdun")?["total_ventes"] == 1_260, "{body}");
        let best = list(&body["produits_vendus"])?;
        ensure!((1..=5).contains(&best.len()), "{body}");
        has_members(&best[0], &["nom", "quantite_totale"])?;
        ensure!(best[0]["nom"] == "Produit 3", "{body}");
        let left = list(&body["stock_restants"])?;
        ensure!(left.contains(&json!({"magasin": "Plateau", "produit": "Produit 1", "quantite": 47})), "{body}");
        ensure!(left.len() == 5 * 4, "{body}");
        ensure!(of("Boutique en ligne")?.is_null(), "{body}");
        Ok(())
    })
    .await;
    rows.row("GET …/maison-mere/performance", async {
        post("/magasins/5/produits/1/vente?quantite=46").await?.expect(200)?;
        post("/logistique/approvisionner?magasin_id=1&produit_id=4&quantite=60").await?.expect(200)?;
        let body = get("/maison-mere/performance").await?;
        has_members(&body, &["chiffre_affaires", "ruptures", "surstocks", "tendances"])?;
        let turnover = list(&body["chiffre_affaires"])?;
        ensure!(turnover.contains(&json!({"magasin_id": 5, "total": 4_600})), "{body}");
        let short = list(&body["ruptures"])?;
        ensure!(short.contains(&json!({"magasin_id": 5, "produit_id": 1, "quantite": 4})), "{body}");
        let over = list(&body["surstocks"])?;
        ensure!(over == &[json!({"magasin_id": 1, "produit_id": 4, "quantite": 110})], "{body}");
        let trends = list(&body["tendances"])?;
        for row in ["chiffre_affaires", "ruptures", "surstocks", "tendances"] {
            let stores = list(&body[row])?.iter().all(|row| row["magasin_id"].as_i64().is_some_and(|id| id <= 5));
            ensure!(stores, "{row}: {body}");
        }
        ensure!(trends.contains(&json!({"magasin_id": 4, "nombre_ventes": 2})), "{body}");
        Ok(())
    })
    .await;
    rows.row("PUT …/maison-mere/produits/{id}", async {
        let put = |path: &'static str, body: Value| async move { port(8003).put(path, &body).await };
        let done = json!({"message": "Produit mis à jour avec succès"});
        let change = json!({"nom": "Thé", "prix": 31.5, "description": "noir"});
        put("/api/v1/maison-mere/produits/3", change).await?.is(200, &done)?;
        let produits = port(8088).get("/produits").await?.expect(200)?;
        ensure!(produits["produits"][2] == json!({"id": 3, "nom": "Thé", "prix": 31.5}), "{produits}");
        put("/api/v1/maison-mere/produits/3", json!({"prix": 30})).await?.is(200, &done)?;
        detail(&put("/api/v1/maison-mere/produits/99", json!({"prix": 1})).await?, 404, "Produit non trouvé")?;
        put("/api/v1/maison-mere/produits/3", json!({"prix": 31.499_999_999_999_996})).await?.is(200, &done)?;
        let produits = port(8088).get("/produits").await?.expect(200)?;
        ensure!(produits["produits"][2]["prix"] == 31.5, "{produits}");
        put("/api/v1/maison-mere/produits/3", json!({"prix": 1.005})).await?.is(200, &done)?;
        put("/api/v1/maison-mere/produits/3", json!({"prix": 30})).await?.is(200, &done)?;
        for wrong in [json!(-1), json!(1e10), json!("x"), json!([1])] {
            let response = put("/api/v1/maison-mere/produits/3", json!({"prix": wrong})).await?;
            detail(&response, 422, "prix non valide")?;
        }
        Ok(())
    })
    .await;
}
