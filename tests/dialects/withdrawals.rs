//! Orders whose client gets an error or no response: the client repeats them, so the first attempt must be withdrawn.

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

/// Waits until each order is confirmed or cancelled and no withdrawal is due; returns the number of confirmed orders.
async fn count_confirmed(admin: &Client) -> Result<usize> {
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
async fn a_killed_gateway_leaves_no_order_that_its_client_repeats() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Processes::start(folder.path(), Stores::embedded(), &ENV, &[]).await?;
    let admin = fleet.client("admin").await?;

    // The gateway is killed during a checkout.
    let first = tokio::spawn(async move { port(8002).post("/saga/commande", &order()).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    fleet.kill("gateway", 0).await?;
    ensure!(first.await?.is_err(), "the gateway responded before it was killed");
    fleet.run("gateway", 0)?;
    fleet.wait_until_ready("gateway", 0).await?;
    let again = port(8002).post("/saga/commande", &order()).await?.expect(200)?;
    ensure!(again["status"] == "ok", "{again}");
    ensure!(count_confirmed(&admin).await? == 1, "the first order is not withdrawn");

    // The gateway is stopped while the order service is paused: the client gets an error, and the order is placed afterwards.
    fleet.signal("order", 0, "STOP").await?;
    let request = tokio::spawn(async move { port(8002).post("/saga/commande", &order()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.signal("gateway", 0, "TERM").await?;
    let response = request.await?;
    ensure!(
        !response.is_ok_and(|response| response.text().contains("\"ok\"")),
        "a success while the order service was paused"
    );
    fleet.signal("order", 0, "CONT").await?;
    fleet.kill("gateway", 0).await.ok();
    fleet.run("gateway", 0)?;
    fleet.wait_until_ready("gateway", 0).await?;
    ensure!(count_confirmed(&admin).await? == 1, "an order is not withdrawn although its client got an error");
    fleet.terminate().await?;
    let found = audit(folder.path()).await?;
    ensure!(found.is_clean(), "{:#}", found.report);
    Ok(())
}
