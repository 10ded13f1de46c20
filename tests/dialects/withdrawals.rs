//! Orders of which their client is told that they failed, or of whose end it never hears: it sends them again, so they must not stand.

use std::time::Duration;

use anyhow::{Result, ensure};
use fleet_tests::{Client, Processes, Stores, audit, eventually};
use serde_json::{Value, json};

use crate::port;

const DIALECT: &str = "multi-magasins";
const ENV: [(&str, &str); 5] = [
    ("SOUK_DIALECT", DIALECT),
    ("SOUK_GATEWAY_DIALECTS", DIALECT),
    ("SOUK_SAMPLE", DIALECT),
    ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "1500"),
    ("SOUK_GATEWAY_ACKNOWLEDGE_SECONDS", "6"),
];

fn order() -> Value {
    json!({"produits": [{"produit_id": 1, "quantite": 1}]})
}

/// Waits until each order is confirmed or cancelled, and no withdrawal is due; returns how many are confirmed.
async fn confirmed(admin: &Client) -> Result<usize> {
    tokio::time::sleep(Duration::from_secs(8)).await;
    eventually("every order has ended", || async {
        let page = admin.get("/api/orders?limit=100").await?.expect(200)?;
        let statuses: Vec<&str> =
            page["data"].as_array().into_iter().flatten().filter_map(|o| o["status"].as_str()).collect();
        let open = statuses.iter().any(|status| *status == "pending");
        Ok((!open).then(|| statuses.iter().filter(|status| **status != "cancelled").count()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_leaves_no_order_that_its_client_sends_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Processes::start(folder.path(), Stores::embedded(), &ENV, &[]).await?;
    let admin = fleet.client("admin").await?;

    // Killed during a checkout.
    let first = tokio::spawn(async move { port(8002).post("/saga/commande", &order()).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    fleet.kill("gateway", 0).await?;
    ensure!(first.await?.is_err(), "it was killed before it could answer");
    fleet.run("gateway", 0)?;
    fleet.wait_until_ready("gateway", 0).await?;
    let again = port(8002).post("/saga/commande", &order()).await?.expect(200)?;
    ensure!(again["status"] == "ok", "{again}");
    ensure!(confirmed(&admin).await? == 1, "the first order stands beside the second");

    // Stopped while the order service is paused: the client is told that there is no order, which comes afterwards.
    fleet.signal("order", 0, "STOP").await?;
    let told = tokio::spawn(async move { port(8002).post("/saga/commande", &order()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.signal("gateway", 0, "TERM").await?;
    let told = told.await?;
    ensure!(!told.is_ok_and(|told| told.text().contains("\"ok\"")), "it cannot know of an order");
    fleet.signal("order", 0, "CONT").await?;
    fleet.kill("gateway", 0).await.ok();
    fleet.run("gateway", 0)?;
    fleet.wait_until_ready("gateway", 0).await?;
    ensure!(confirmed(&admin).await? == 1, "an order stands of which its client was told that it failed");
    fleet.terminate().await?;
    let found = audit(folder.path()).await?;
    ensure!(found.is_clean(), "{:#}", found.report);
    Ok(())
}
