//! Unavailable servers: at the start of a service, and while the fleet is running.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Processes, Server, eventually};
use serde_json::json;

use crate::chaos::{own_servers, settle_and_audit, wait_until_terminal};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn a_fleet_survives_outages_of_its_servers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (servers, urls) = own_servers(folder.path()).await?;
    let data = folder.path().join("data");
    let fleet = Processes::start(&data, urls.create_stores().await?, &[], &[]).await?;
    Box::pin(stop_servers_in_turn(fleet, &data, &servers)).await
}

/// The status of a GET request.
async fn status(url: &str, path: &str) -> Result<u16> {
    Ok(Client::new(url, None).get(path).await?.status)
}

async fn stop_servers_in_turn(mut fleet: Processes, data: &std::path::Path, servers: &[Server]) -> Result<()> {
    let [postgres, mongodb, kafka] = servers else { anyhow::bail!("three servers") };
    let admin = fleet.client("admin").await?;
    admin.add_product("LAMP", 12.5, 100).await?;
    let order = |id: &str| json!({"id": id, "lines": [{"product_id": "LAMP", "quantity": 1}]});

    // Without Kafka orders are accepted and confirmed; their events wait in the outbox and are published when Kafka is back.
    kafka.stop().await?;
    ensure!(admin.post("/api/orders", &order("no-kafka")).await?.expect(201)?["state"] == "CONFIRMED");
    ensure!(status(&fleet.url("order"), "/ready").await? == 200, "a service must stay ready without the bus");
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(fleet.metric("order", 0, "outbox_depth").await > 0.0, "no event waits in the outbox");
    kafka.restart().await?;
    eventually("the events from the outage of Kafka are processed", || async {
        let page = admin.get("/api/notifications?order_id=no-kafka").await?.expect(200)?;
        let sold = admin.level("LAMP", "logistics").await? == (99, 0);
        Ok((sold && page["data"].as_array().is_some_and(|notifications| notifications.len() >= 2)).then_some(()))
    })
    .await
    .with_context(|| fleet.log())?;

    // Without its database a service is alive but not ready, and its error responses have Retry-After.
    postgres.stop().await?;
    for service in ["order", "stock", "payment", "product", "notification"] {
        ensure!(status(&fleet.url(service), "/health").await? == 200, "{service} is not alive");
        eventually(&format!("{service} is not ready"), || async {
            Ok((status(&fleet.url(service), "/ready").await? == 503).then_some(()))
        })
        .await?;
    }
    let refused = admin.post("/api/orders", &order("no-postgres")).await?;
    refused.problem(503)?;
    ensure!(!refused.header("retry-after").is_empty(), "no Retry-After");
    let refused = Client::new(&fleet.url("stock"), None).get("/api/places").await?;
    refused.problem(503)?;
    ensure!(!refused.header("retry-after").is_empty(), "no Retry-After");

    // A service that starts without its store is alive but not ready.
    fleet.kill("stock", 0).await?;
    fleet.run("stock", 0)?;
    eventually("stock is alive", || async {
        Ok((status(&fleet.replica_url("stock", 0), "/health").await.ok() == Some(200)).then_some(()))
    })
    .await?;
    ensure!(status(&fleet.replica_url("stock", 0), "/ready").await? == 503);
    postgres.restart().await?;
    for service in ["order", "stock", "payment", "product", "notification"] {
        fleet.wait_until_ready(service, 0).await?;
    }
    eventually("orders are accepted again", || async {
        Ok((admin.post("/api/orders", &order("no-postgres")).await?.status == 201).then_some(()))
    })
    .await?;

    // The same for MongoDB.
    mongodb.stop().await?;
    eventually("customer is not ready", || async {
        Ok((status(&fleet.url("customer"), "/ready").await? == 503).then_some(()))
    })
    .await?;
    ensure!(status(&fleet.url("customer"), "/health").await? == 200);
    mongodb.restart().await?;
    fleet.wait_until_ready("customer", 0).await?;
    eventually("customers can register again", || async { Ok(admin.register("late").await.is_ok().then_some(())) })
        .await?;
    wait_until_terminal(&admin, Duration::from_secs(20)).await?;
    settle_and_audit(&mut fleet, data).await
}
