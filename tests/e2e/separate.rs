//! The seven services as processes of their own: only their URLs tie them together.

use std::path::Path;

use anyhow::Result;
use fleet_tests::{Client, Processes, Servers, Stores, audit, eventually, on_servers};
use serde_json::json;

async fn status(admin: &Client, id: &str, wanted: &str) -> Result<()> {
    eventually(&format!("order {id} is {wanted}"), || async {
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        Ok((order["status"] == wanted).then_some(()))
    })
    .await
}

/// Stores of the kind that this run is about.
pub(crate) async fn stores() -> Result<Stores> {
    if on_servers() { Servers::given()?.stores().await } else { Ok(Stores::embedded()) }
}

async fn admin(fleet: &Processes) -> Result<Client> {
    let nobody = Client::new(&fleet.url("gateway"), None);
    let who = json!({"username": "admin", "password": fleet.passwords["admin"]});
    let login = nobody.post("/api/users/login", &who).await?.expect(200)?;
    Ok(nobody.with_token(login["token"].as_str().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_the_death_of_each_service_that_it_needs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let env = [("SOUK_ORDER_LEASE_SECONDS", "2")];
    let mut seven = Processes::start(folder.path(), stores().await?, &env, &[]).await?;
    let admin = admin(&seven).await?;
    admin.add_product("LAMP", 12.5, 100).await?;
    let order = |id: &str| json!({"id": id, "lines": [{"product_id": "LAMP", "quantity": 2}]});
    let placed = admin.post("/api/orders", &order("first")).await?.expect(201)?;
    assert_eq!(placed["state"], "CONFIRMED");

    // Stock is away: the order is taken, waits, and is confirmed when stock is back.
    seven.kill("stock", 0).await?;
    let waiting = admin.post("/api/orders", &order("no-stock")).await?.expect(202)?;
    assert_eq!(
        (waiting["state"].as_str(), waiting["status_url"].as_str()),
        (Some("CREATED"), Some("/api/orders/no-stock"))
    );
    seven.run("stock", 0)?;
    status(&admin, "no-stock", "confirmed").await?;

    // Payment is away while the order service dies with the order in hand; another process takes it over.
    seven.kill("payment", 0).await?;
    let waiting = admin.post("/api/orders", &order("no-payment")).await?.expect(202)?;
    assert_eq!(waiting["status"], "pending");
    seven.kill("order", 0).await?;
    seven.run("order", 0)?;
    seven.ready("order", 0).await?;
    seven.run("payment", 0)?;
    status(&admin, "no-payment", "confirmed").await?;

    // Somebody cancels an order that waits: nothing is charged, nothing is held.
    seven.kill("payment", 0).await?;
    admin.post("/api/orders", &order("cancelled")).await?.expect(202)?;
    let cancel = admin.post("/api/orders/cancelled/cancel", &json!({"reason": "changed my mind"})).await?;
    assert_eq!(cancel.status, 202, "{}", cancel.text());
    seven.run("payment", 0)?;
    status(&admin, "cancelled", "cancelled").await?;
    let again = admin.post("/api/orders", &order("cancelled")).await?.problem(409)?;
    assert_eq!(again["reason"], "changed my mind");

    eventually("the stock follows the events", || async {
        Ok((admin.level("LAMP", "logistics").await? == (94, 0)).then_some(()))
    })
    .await?;
    clean_audit(folder.path()).await
}

/// Audits the stores of a data folder; it must be clean.
pub(crate) async fn clean_audit(data: &Path) -> Result<()> {
    let found = audit(data).await?;
    assert!(found.is_clean(), "{:#}", found.report);
    Ok(())
}
