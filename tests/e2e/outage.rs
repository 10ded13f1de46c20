//! Servers that are away: before the fleet starts, and while it serves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Processes, Server, eventually};
use serde_json::json;

use crate::chaos::{own_servers, settled, terminal};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn servers_may_come_late_go_and_come_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (servers, urls) = own_servers(folder.path()).await?;
    let data = folder.path().join("data");
    let fleet = Processes::start(&data, urls.stores().await?, &[], &[]).await?;
    Box::pin(away(fleet, &data, &servers)).await
}

/// What a replica says of itself.
async fn says(url: &str, path: &str) -> Result<u16> {
    Ok(Client::new(url, None).get(path).await?.status)
}

async fn away(mut fleet: Processes, data: &std::path::Path, servers: &[Server]) -> Result<()> {
    let [postgres, mongodb, kafka] = servers else { anyhow::bail!("three servers") };
    let admin = fleet.client("admin").await?;
    admin.add_product("LAMP", 12.5, 100).await?;
    let order = |id: &str| json!({"id": id, "lines": [{"product_id": "LAMP", "quantity": 1}]});

    // Without Kafka orders are taken and confirmed; what they tell waits, and comes when Kafka does.
    kafka.stop().await?;
    ensure!(admin.post("/api/orders", &order("no-kafka")).await?.expect(201)?["state"] == "CONFIRMED");
    ensure!(says(&fleet.url("order"), "/ready").await? == 200, "a bus that is away is no reason to take a service out");
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(fleet.metric("order", 0, "outbox_depth").await > 0.0, "events wait in the outbox");
    kafka.again().await?;
    eventually("the events of the time without Kafka have their effect", || async {
        let told = admin.get("/api/notifications?order_id=no-kafka").await?.expect(200)?;
        let sold = admin.level("LAMP", "logistics").await? == (99, 0);
        Ok((sold && told["data"].as_array().is_some_and(|told| told.len() >= 2)).then_some(()))
    })
    .await
    .with_context(|| fleet.log())?;

    // Without its database a service lives, is not ready, and says when to come again.
    postgres.stop().await?;
    for service in ["order", "stock", "payment", "product", "notification"] {
        ensure!(says(&fleet.url(service), "/health").await? == 200, "{service} lives");
        eventually(&format!("{service} is not ready"), || async {
            Ok((says(&fleet.url(service), "/ready").await? == 503).then_some(()))
        })
        .await?;
    }
    let refused = admin.post("/api/orders", &order("no-postgres")).await?;
    refused.problem(503)?;
    ensure!(!refused.header("retry-after").is_empty(), "it says when to come again");
    let refused = Client::new(&fleet.url("stock"), None).get("/api/places").await?;
    refused.problem(503)?;
    ensure!(!refused.header("retry-after").is_empty(), "it says when to come again");

    // A service that starts meanwhile waits for its store, alive and not ready.
    fleet.kill("stock", 0).await?;
    fleet.run("stock", 0)?;
    eventually("stock lives", || async {
        Ok((says(&fleet.replica_url("stock", 0), "/health").await.ok() == Some(200)).then_some(()))
    })
    .await?;
    ensure!(says(&fleet.replica_url("stock", 0), "/ready").await? == 503);
    postgres.again().await?;
    for service in ["order", "stock", "payment", "product", "notification"] {
        fleet.ready(service, 0).await?;
    }
    eventually("orders are taken again", || async {
        Ok((admin.post("/api/orders", &order("no-postgres")).await?.status == 201).then_some(()))
    })
    .await?;

    // The same for MongoDB.
    mongodb.stop().await?;
    eventually("customer is not ready", || async {
        Ok((says(&fleet.url("customer"), "/ready").await? == 503).then_some(()))
    })
    .await?;
    ensure!(says(&fleet.url("customer"), "/health").await? == 200);
    mongodb.again().await?;
    fleet.ready("customer", 0).await?;
    eventually("people register again", || async { Ok(admin.register("late").await.is_ok().then_some(())) }).await?;
    terminal(&admin, Duration::from_secs(20)).await?;
    settled(&mut fleet, data).await
}
