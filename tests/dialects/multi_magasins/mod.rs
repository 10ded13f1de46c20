//! `multi-magasins`: twelve ports from 8001 to 8088.

mod api;
mod shop;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Answer, Client, Fleet, Rows, curl, eventually, on_servers};
use serde_json::{Value, json};

use crate::{has_members, port};

/// Each port's name in `/health`.
const SERVICES: [(u16, &str); 12] = [
    (8080, "gateway"),
    (8002, "orchestrateur"),
    (8001, "clients"),
    (8003, "api"),
    (8006, "commande"),
    (8007, "stock"),
    (8008, "paiement"),
    (8010, "panier"),
    (8011, "panier"),
    (8012, "events"),
    (8013, "commandes"),
    (8088, "nginx"),
];
const ALL: [&str; 5] = ["CREEE", "STOCK_VERIFIE", "STOCK_RESERVE", "PAYEE", "CONFIRMEE"];
const ENVELOPE: &[&str] = &["id", "type", "source", "timestamp", "payload"];

fn detail(answer: &Answer, status: u16, told: &str) -> Result<()> {
    answer.is(status, &json!({"detail": told}))
}

fn confirmed(answer: &Value) -> Result<String> {
    has_members(answer, &["status", "commande_id", "etat", "etats"])?;
    ensure!(answer["status"] == "ok" && answer["etat"] == "CONFIRMEE", "{answer}");
    ensure!(answer["etats"] == json!(ALL), "{answer}");
    Ok(answer["commande_id"].as_str().context("commande_id")?.to_owned())
}

fn failed(answer: &Value, message: &str) -> Result<String> {
    has_members(answer, &["status", "message", "commande_id", "etat", "etats"])?;
    ensure!(answer["status"] == "échec" && answer["etat"] == "ANNULEE", "{answer}");
    ensure!(answer["message"] == message, "{answer}");
    let etats = answer["etats"].as_array().context("etats")?;
    ensure!(etats.first() == Some(&json!("CREEE")) && etats.last() == Some(&json!("ANNULEE")), "{answer}");
    Ok(answer["commande_id"].as_str().context("commande_id")?.to_owned())
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no array: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The sample data says so to the fleet in one process; seven are told.
    let fleet = Fleet::dialect(folder.path(), "multi-magasins", &[("SOUK_PAYMENT_SANDBOX_LIMIT", "500")]).await?;
    let admin = fleet.client("admin");
    let mut rows = Rows::new("multi-magasins");
    saga(&mut rows, &admin).await;
    shop::rows(&mut rows, &admin).await;
    api::rows(&mut rows, &admin).await;
    edge(&mut rows).await;
    told(&mut rows, &fleet).await;
    rows.finish(fleet).await.map(drop)
}

async fn saga(rows: &mut Rows, admin: &Client) {
    let orchestrator = port(8002);
    rows.row("POST :8002/saga/commande/, the documented calls word for word", async {
        let before = [admin.level("1", "en-ligne").await?, admin.level("2", "en-ligne").await?];
        ensure!(before == [(10, 0), (5, 0)], "{before:?}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialects/multi_magasins/curls.sh");
        let told = curl(&file).await?;
        let [one, short, dear, gateway] = told.as_slice() else { anyhow::bail!("{told:?}") };
        let read = |(_, text): &(String, String)| serde_json::from_str::<Value>(text).context(text.clone());
        let id = confirmed(&read(one)?)?;
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        ensure!(order["total"] == 350 && order["place_id"] == "en-ligne", "{order}");
        ensure!(order["payment"]["status"] == "captured", "{order}");
        failed(&read(short)?, "Stock insuffisant.")?;
        let refused = read(dear)?;
        failed(&refused, "Paiement échoué.")?;
        ensure!(refused["etats"] == json!(["CREEE", "STOCK_VERIFIE", "STOCK_RESERVE", "ANNULEE"]), "{refused}");
        confirmed(&read(gateway)?)?;
        eventually("what was sold has left and the rest is free", || async {
            let levels = [
                admin.level("1", "en-ligne").await?,
                admin.level("2", "en-ligne").await?,
                admin.level("4", "en-ligne").await?,
            ];
            Ok((levels == [(8, 0), (4, 0), (50, 0)]).then_some(()))
        })
        .await
    })
    .await;
    rows.row("POST :8002/saga/commande/, both shapes, and what goes wrong", async {
        let saga = |body: Value| {
            let orchestrator = orchestrator.clone();
            async move { orchestrator.post("/saga/commande", &body).await?.expect(200) }
        };
        confirmed(&saga(json!({"produits": [{"produit_id": 3, "quantite": 1}]})).await?)?;
        confirmed(&saga(json!({"produits": [{"id": "produit_3", "qte": 1}]})).await?)?;
        confirmed(&saga(json!({"produits": [{"id": 3, "quantite": 1}, {"id": "3", "qte": 1}]})).await?)?;
        let unknown = saga(json!({"produits": [{"produit_id": 77, "quantite": 1}]})).await?;
        failed(&unknown, "Erreur de calcul du prix.")?;
        ensure!(unknown["etats"] == json!(["CREEE", "ANNULEE"]), "{unknown}");
        failed(&saga(json!({"produits": [{"id": "produit_2", "qte": 5}]})).await?, "Stock insuffisant.")?;
        for wrong in [json!({}), json!({"produits": []}), json!({"produits": [{"id": 1, "qte": 0}]})] {
            let told = orchestrator.post("/saga/commande/", &wrong).await?.expect(422)?;
            ensure!(told["detail"][0]["loc"][1] == "produits", "{told}");
        }
        Ok(())
    })
    .await;
    rows.row("a refused payment leaves the stock as it was", async {
        let before = admin.level("4", "en-ligne").await?;
        let answer = orchestrator.post("/saga/commande/", &json!({"produits": [{"id": 4, "qte": 10}]})).await?;
        let id = failed(&answer.expect(200)?, "Paiement échoué.")?;
        ensure!(admin.level("4", "en-ligne").await? == before, "the level is another than {before:?}");
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        ensure!(order["status"] == "cancelled" && order["payment"]["status"] != "captured", "{order}");
        Ok(())
    })
    .await;
}

/// What all ports have.
async fn edge(rows: &mut Rows) {
    rows.row("every service through :8080 too, with and without trailing slash", async {
        let pairs = [
            (8001, "/clients"),
            (8012, "/events"),
            (8013, "/commandes"),
            (8003, "/api/v1/logistique/stock"),
            (8003, "/api/v1/logistique/demandes"),
            (8003, "/api/v1/magasins/1/stock"),
            (8010, "/panier/1"),
            (8011, "/panier/1"),
        ];
        for (own, path) in pairs {
            let told = port(own).get(path).await?.expect(200)?;
            for (port, path) in
                [(port(8080), path.to_owned()), (port(8080), format!("{path}/")), (port(own), format!("{path}/"))]
            {
                port.get(&path).await?.is(200, &told).with_context(|| path)?;
            }
        }
        let body = json!({"produits": [{"id": 3, "qte": 1}]});
        for path in ["/stock/prix", "/stock/prix/"] {
            port(8007).post(path, &body).await?.is(200, &json!({"montant_total": 30}))?;
            port(8080).post(path, &body).await?.is(200, &json!({"montant_total": 30}))?;
        }
        detail(&port(8080).get("/nowhere").await?, 404, "Not Found")
    })
    .await;
    rows.row("GET /health, /docs and /metrics on each, and which replica answered", async {
        let mut replicas = std::collections::BTreeSet::new();
        for (number, name) in SERVICES {
            let health = port(number).get("/health").await?;
            health.is(200, &json!({"status": format!("{name} ok")}))?;
            replicas.insert(health.header("x-instance").to_owned());
            let docs = port(number).get("/docs/").await?;
            ensure!(docs.status == 200 && docs.text().contains("swagger"), "{number}: {}", docs.text());
            let told = port(number).get("/docs/openapi.json").await?.expect(200)?;
            ensure!(told["paths"].as_object().is_some_and(|paths| !paths.is_empty()), "{number}: {told}");
            ensure!(port(number).get("/metrics").await?.text().contains("saga_success_total"), "{number}");
        }
        ensure!(replicas.len() == 1 && !replicas.contains(""), "{replicas:?}");
        Ok(())
    })
    .await;
    rows.row(":8004, :8005 are the console's, :9091 is Prometheus's: nobody stands in for them", async {
        let dialect = gateway::Dialect::ALL.iter().find(|dialect| dialect.name == "multi-magasins");
        let mut ports: Vec<u16> = dialect.context("the dialect")?.ports.iter().map(|port| port.number).collect();
        let mut known = SERVICES.map(|(number, _)| number);
        ports.sort_unstable();
        known.sort_unstable();
        ensure!(ports == known, "{ports:?}");
        Ok(())
    })
    .await;
    rows.row("nginx :8088 before the consoles", async {
        let told = port(8088).get("/produits").await?.expect(200)?;
        has_members(&told, &["produits"])?;
        ensure!(told["produits"][1] == json!({"id": 2, "nom": "Produit 2", "prix": 250}), "{told}");
        for path in ["/", "/rapport", "/performances", "/maj_produit", "/demande_appro"] {
            let answer = port(8088).get(path).await?;
            let told = answer.expect(404)?;
            ensure!(told["detail"].as_str().is_some_and(|told| told.contains("console")), "{path}: {told}");
        }
        Ok(())
    })
    .await;
}

/// Lists, events, metrics: of what was done before.
async fn told(rows: &mut Rows, fleet: &Fleet) {
    let admin = fleet.client("admin");
    rows.row("GET :8013/commandes/", async {
        let told = port(8013).get("/commandes/").await?.expect(200)?;
        for order in list(&told)? {
            has_members(order, &["id", "client_id", "statut", "produits"])?;
        }
        let web = admin.all("/api/orders?channel=web").await?;
        ensure!(list(&told)?.len() == web.len(), "{} of {}", list(&told)?.len(), web.len());
        let first = json!([{"id": 1, "quantite": 1}, {"id": 2, "quantite": 1}]);
        ensure!(told[0]["statut"] == "CONFIRMEE" && told[0]["produits"] == first, "{}", told[0]);
        Ok(())
    })
    .await;
    rows.row("GET :8012/events/", async {
        let told = port(8012).get("/events/").await?.expect(200)?;
        for event in list(&told)? {
            has_members(event, ENVELOPE)?;
        }
        port(8012).get("/events").await?.is(200, &told)?;
        let first = told[0]["payload"]["commande_id"].clone();
        let types = |id: &Value| -> Vec<String> {
            let of = list(&told).into_iter().flatten().filter(|event| event["payload"]["commande_id"] == *id);
            of.map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
        };
        ensure!(types(&first) == ["CommandeCreee", "StockReserve", "PaiementEffectue"], "{:?}", types(&first));
        for kind in ["StockInsuffisant", "PaiementRefuse"] {
            let event = list(&told)?.iter().find(|event| event["type"] == kind).context(kind)?;
            ensure!(types(&event["payload"]["commande_id"]).last().is_some_and(|last| last == kind), "{event}");
        }
        Ok(())
    })
    .await;
    if !on_servers() {
        rows.row("topics commande.events, stock.events, paiement.events", async {
            let wanted = port(8012).get("/events/").await?.expect(200)?;
            let read = |topic: &'static str| async move {
                let log = fleet_tests::topic(fleet.data(), topic).await?;
                log.iter().map(|text| Ok(serde_json::from_str::<Value>(text)?)).collect::<Result<Vec<Value>>>()
            };
            eventually("every event is on its topic once", || async {
                for (topic, source) in
                    [("commande.events", "commande"), ("stock.events", "stock"), ("paiement.events", "paiement")]
                {
                    let log = read(topic).await?;
                    for event in &log {
                        has_members(event, ENVELOPE)?;
                        ensure!(event["source"] == source, "{event}");
                    }
                    for event in list(&wanted)?.iter().filter(|event| event["source"] == source) {
                        if log.iter().filter(|told| *told == event).count() != 1 {
                            return Ok(None);
                        }
                    }
                }
                Ok(Some(()))
            })
            .await?;
            let stock = read("stock.events").await?;
            let apart = stock.iter().filter(|event| event["payload"]["commande_id"] == "panier-7").count();
            ensure!(apart == 2, "taken twice apart from orders, told {apart} times");
            Ok(())
        })
        .await;
    }
    rows.row("metrics by their old names", async {
        // All ports count together. Events are told when the gateway has joined its group, which on Kafka takes a while.
        let names = [
            "saga_success_total ",
            "saga_failure_total ",
            "saga_duration_seconds_count ",
            "saga_etat_total{etat=\"CONFIRMEE\"} ",
            "saga_etat_total{etat=\"ANNULEE\"} ",
            "events_emitted_total{type=\"CommandeCreee\"} ",
            "events_consumed_total{type=\"PaiementRefuse\"} ",
            "event_processing_latency_seconds_count ",
        ];
        eventually("all metrics count", || async {
            let text = port(8007).get("/metrics").await?.text();
            let value = |name: &&str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
            Ok(names.iter().all(|name| value(name).is_some_and(|value| value > 0.0)).then_some(()))
        })
        .await?;
        Ok(())
    })
    .await;
}
