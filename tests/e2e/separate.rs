//! The seven services as separate processes that know each other only by URL.

use std::path::Path;

use anyhow::Result;
use fleet_tests::{Client, Processes, Servers, Stores, audit, eventually, on_servers};
use serde_json::json;

async fn wait_for_status(admin: &Client, id: &str, expected: &str) -> Result<()> {
    eventually(&format!("order {id} is {expected}"), || async {
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        Ok((order["status"] == expected).then_some(()))
    })
    .await
}

/// Stores of the kind that this run tests.
pub(crate) async fn create_stores() -> Result<Stores> {
    if on_servers() { Servers::from_env()?.create_stores().await } else { Ok(Stores::embedded()) }
}

async fn log_in_as_admin(fleet: &Processes) -> Result<Client> {
    let anonymous = Client::new(&fleet.url("gateway"), None);
    let credentials = json!({"username": "admin", "password": fleet.passwords["admin"]});
    let login = anonymous.post("/api/users/login", &credentials).await?.expect(200)?;
    Ok(anonymous.with_token(login["token"].as_str().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_a_kill_of_each_service_that_it_needs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let env = [("SOUK_ORDER_LEASE_SECONDS", "2")];
    let mut fleet = Processes::start(folder.path(), create_stores().await?, &env, &[]).await?;
    let admin = log_in_as_admin(&fleet).await?;
    admin.add_product("LAMP", 12.5, 100).await?;
    let order = |id: &str| json!({"id": id, "lines": [{"product_id": "LAMP", "quantity": 2}]});
    let placed = admin.post("/api/orders", &order("first")).await?.expect(201)?;
    assert_eq!(placed["state"], "CONFIRMED");

    // Without the stock service an order is accepted, and confirmed when the service is back.
    fleet.kill("stock", 0).await?;
    let waiting = admin.post("/api/orders", &order("no-stock")).await?.expect(202)?;
    assert_eq!(
        (waiting["state"].as_str(), waiting["status_url"].as_str()),
        (Some("CREATED"), Some("/api/orders/no-stock"))
    );
    fleet.run("stock", 0)?;
    wait_for_status(&admin, "no-stock", "confirmed").await?;

    // The order service is killed while its order waits for the payment service; the new process takes the order over.
    fleet.kill("payment", 0).await?;
    let waiting = admin.post("/api/orders", &order("no-payment")).await?.expect(202)?;
    assert_eq!(waiting["status"], "pending");
    fleet.kill("order", 0).await?;
    fleet.run("order", 0)?;
    fleet.wait_until_ready("order", 0).await?;
    fleet.run("payment", 0)?;
    wait_for_status(&admin, "no-payment", "confirmed").await?;

    // A cancelled order that waits is neither charged nor does it keep a reservation.
    fleet.kill("payment", 0).await?;
    admin.post("/api/orders", &order("cancelled")).await?.expect(202)?;
    let cancel = admin.post("/api/orders/cancelled/cancel", &json!({"reason": "changed my mind"})).await?;
    assert_eq!(cancel.status, 202, "{}", cancel.text());
    fleet.run("payment", 0)?;
    wait_for_status(&admin, "cancelled", "cancelled").await?;
    let again = admin.post("/api/orders", &order("cancelled")).await?.problem(409)?;
    assert_eq!(again["reason"], "changed my mind");

    eventually("the stock reflects the events", || async {
        Ok((admin.level("LAMP", "logistics").await? == (94, 0)).then_some(()))
    })
    .await?;
    check_audit(folder.path()).await
}

/// Audits the stores of a data folder; the audit must be clean.
pub(crate) async fn check_audit(data: &Path) -> Result<()> {
    let found = audit(data).await?;
    assert!(found.is_clean(), "{:#}", found.report);
    Ok(())
}
