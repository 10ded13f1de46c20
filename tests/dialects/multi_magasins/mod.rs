//! `multi-magasins`: twelve ports from 8001 to 8088.

mod api;
mod shop;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Response, Rows, eventually, on_servers, run_curls};
use serde_json::{Value, json};

use crate::{has_members, port};

/// The ports, each with the service name that `/health` returns.
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
const ALL_STATES: [&str; 5] = ["CREEE", "STOCK_VERIFIE", "STOCK_RESERVE", "PAYEE", "CONFIRMEE"];
const ENVELOPE: &[&str] = &["id", "type", "source", "timestamp", "payload"];

fn detail(response: &Response, status: u16, text: &str) -> Result<()> {
    response.is(status, &json!({"detail": text}))
}

fn confirmed(body: &Value) -> Result<String> {
    has_members(body, &["status", "commande_id", "etat", "etats"])?;
    ensure!(body["status"] == "ok" && body["etat"] == "CONFIRMEE", "{body}");
    ensure!(body["etats"] == json!(ALL_STATES), "{body}");
    Ok(body["commande_id"].as_str().context("commande_id")?.to_owned())
}

fn failed(body: &Value, message: &str) -> Result<String> {
    has_members(body, &["status", "message", "commande_id", "etat", "etats"])?;
    ensure!(body["status"] == "échec" && body["etat"] == "ANNULEE", "{body}");
    ensure!(body["message"] == message, "{body}");
    let etats = body["etats"].as_array().context("etats")?;
    ensure!(etats.first() == Some(&json!("CREEE")) && etats.last() == Some(&json!("ANNULEE")), "{body}");
    Ok(body["commande_id"].as_str().context("commande_id")?.to_owned())
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("not an array: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The sample data sets this limit only for a single process; separate processes need the setting.
    let fleet = Fleet::dialect(folder.path(), "multi-magasins", &[("SOUK_PAYMENT_SANDBOX_LIMIT", "500")]).await?;
    let admin = fleet.client("admin");
    let mut rows = Rows::new("multi-magasins");
    saga(&mut rows, &admin).await;
    shop::rows(&mut rows, &admin).await;
    api::rows(&mut rows, &admin).await;
    common_routes(&mut rows).await;
    lists_events_and_metrics(&mut rows, &fleet).await;
    rows.finish(fleet).await.map(drop)
}

async fn saga(rows: &mut Rows, admin: &Client) {
    let orchestrator = port(8002);
    rows.row("POST :8002/saga/commande/, the documented curls unchanged", async {
        let before = [admin.level("1", "en-ligne").await?, admin.level("2", "en-ligne").await?];
        ensure!(before == [(10, 0), (5, 0)], "{before:?}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialects/multi_magasins/curls.sh");
        let outputs = run_curls(&file).await?;
        let [one, short, expensive, gateway] = outputs.as_slice() else { anyhow::bail!("{outputs:?}") };
        let read = |(_, text): &(String, String)| serde_json::from_str::<Value>(text).context(text.clone());
        let id = confirmed(&read(one)?)?;
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        ensure!(order["total"] == 350 && order["place_id"] == "en-ligne", "{order}");
        ensure!(order["payment"]["status"] == "captured", "{order}");
        failed(&read(short)?, "Stock insuffisant.")?;
        let refused = read(expensive)?;
        failed(&refused, "Paiement échoué.")?;
        ensure!(refused["etats"] == json!(["CREEE", "STOCK_VERIFIE", "STOCK_RESERVE", "ANNULEE"]), "{refused}");
        confirmed(&read(gateway)?)?;
        eventually("the sold pieces are gone and nothing is reserved", || async {
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
    rows.row("POST :8002/saga/commande/, both body formats, and errors", async {
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
            let problem = orchestrator.post("/saga/commande/", &wrong).await?.expect(422)?;
            ensure!(problem["detail"][0]["loc"][1] == "produits", "{problem}");
        }
        Ok(())
    })
    .await;
    rows.row("a refused payment does not change the stock", async {
        let before = admin.level("4", "en-ligne").await?;
        let response = orchestrator.post("/saga/commande/", &json!({"produits": [{"id": 4, "qte": 10}]})).await?;
        let id = failed(&response.expect(200)?, "Paiement échoué.")?;
        ensure!(admin.level("4", "en-ligne").await? == before, "the level differs from {before:?}");
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        ensure!(order["status"] == "cancelled" && order["payment"]["status"] != "captured", "{order}");
        Ok(())
    })
    .await;
}

/// Routes that all ports have.
async fn common_routes(rows: &mut Rows) {
    rows.row("every service also through :8080, with and without a trailing slash", async {
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
            let expected = port(own).get(path).await?.expect(200)?;
            for (port, path) in
                [(port(8080), path.to_owned()), (port(8080), format!("{path}/")), (port(own), format!("{path}/"))]
            {
                port.get(&path).await?.is(200, &expected).with_context(|| path)?;
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
    rows.row("GET /health, /docs and /metrics on each, and the X-Instance header", async {
        let mut replicas = std::collections::BTreeSet::new();
        for (number, name) in SERVICES {
            let health = port(number).get("/health").await?;
            health.is(200, &json!({"status": format!("{name} ok")}))?;
            replicas.insert(health.header("x-instance").to_owned());
            let docs = port(number).get("/docs/").await?;
            ensure!(docs.status == 200 && docs.text().contains("swagger"), "{number}: {}", docs.text());
            let document = port(number).get("/docs/openapi.json").await?.expect(200)?;
            ensure!(document["paths"].as_object().is_some_and(|paths| !paths.is_empty()), "{number}: {document}");
            ensure!(port(number).get("/metrics").await?.text().contains("saga_success_total"), "{number}");
        }
        ensure!(replicas.len() == 1 && !replicas.contains(""), "{replicas:?}");
        Ok(())
    })
    .await;
    rows.row("the dialect does not serve :8004 and :8005 (console) and :9091 (Prometheus)", async {
        let dialect = gateway::Dialect::ALL.iter().find(|dialect| dialect.name == "multi-magasins");
        let mut ports: Vec<u16> = dialect.context("the dialect")?.ports.iter().map(|port| port.number).collect();
        let mut known = SERVICES.map(|(number, _)| number);
        ports.sort_unstable();
        known.sort_unstable();
        ensure!(ports == known, "{ports:?}");
        Ok(())
    })
    .await;
    rows.row("nginx :8088 in front of the consoles", async {
        let body = port(8088).get("/produits").await?.expect(200)?;
        has_members(&body, &["produits"])?;
        ensure!(body["produits"][1] == json!({"id": 2, "nom": "Produit 2", "prix": 250}), "{body}");
        for path in ["/", "/rapport", "/performances", "/maj_produit", "/demande_appro"] {
            let response = port(8088).get(path).await?;
            let problem = response.expect(404)?;
            ensure!(problem["detail"].as_str().is_some_and(|text| text.contains("console")), "{path}: {problem}");
        }
        Ok(())
    })
    .await;
}

/// Lists, events and metrics of the earlier requests.
async fn lists_events_and_metrics(rows: &mut Rows, fleet: &Fleet) {
    let admin = fleet.client("admin");
    rows.row("GET :8013/commandes/", async {
        let body = port(8013).get("/commandes/").await?.expect(200)?;
        for order in list(&body)? {
            has_members(order, &["id", "client_id", "statut", "produits"])?;
        }
        let web = admin.all("/api/orders?channel=web").await?;
        ensure!(list(&body)?.len() == web.len(), "{} of {}", list(&body)?.len(), web.len());
        let first = json!([{"id": 1, "quantite": 1}, {"id": 2, "quantite": 1}]);
        ensure!(body[0]["statut"] == "CONFIRMEE" && body[0]["produits"] == first, "{}", body[0]);
        Ok(())
    })
    .await;
    rows.row("GET :8012/events/", async {
        let body = port(8012).get("/events/").await?.expect(200)?;
        for event in list(&body)? {
            has_members(event, ENVELOPE)?;
        }
        port(8012).get("/events").await?.is(200, &body)?;
        let first = body[0]["payload"]["commande_id"].clone();
        let types = |id: &Value| -> Vec<String> {
            let of = list(&body).into_iter().flatten().filter(|event| event["payload"]["commande_id"] == *id);
            of.map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
        };
        ensure!(types(&first) == ["CommandeCreee", "StockReserve", "PaiementEffectue"], "{:?}", types(&first));
        for kind in ["StockInsuffisant", "PaiementRefuse"] {
            let event = list(&body)?.iter().find(|event| event["type"] == kind).context(kind)?;
            ensure!(types(&event["payload"]["commande_id"]).last().is_some_and(|last| last == kind), "{event}");
        }
        Ok(())
    })
    .await;
    if !on_servers() {
        rows.row("topics commande.events, stock.events, paiement.events", async {
            let expected = port(8012).get("/events/").await?.expect(200)?;
            let read = |topic: &'static str| async move {
                let log = fleet_tests::read_topic(fleet.data(), topic).await?;
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
                    for event in list(&expected)?.iter().filter(|event| event["source"] == source) {
                        if log.iter().filter(|logged| *logged == event).count() != 1 {
                            return Ok(None);
                        }
                    }
                }
                Ok(Some(()))
            })
            .await?;
            let stock = read("stock.events").await?;
            let without_order = stock.iter().filter(|event| event["payload"]["commande_id"] == "panier-7").count();
            ensure!(without_order == 2, "two reservations without an order have {without_order} events");
            Ok(())
        })
        .await;
    }
    rows.row("metrics with the old names", async {
        // The metrics are the same on all ports. Events are counted once the gateway has joined its consumer group, which takes some
        // time on Kafka.
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
        eventually("all metrics have values", || async {
            let text = port(8007).get("/metrics").await?.text();
            let value = |name: &&str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
            Ok(names.iter().all(|name| value(name).is_some_and(|value| value > 0.0)).then_some(()))
        })
        .await?;
        Ok(())
    })
    .await;
}
