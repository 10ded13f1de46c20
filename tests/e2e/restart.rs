//! Stops and kills under load: completed requests keep their outcome, and repeats of the others create exactly one order.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Result, ensure};
use fleet_tests::{Client, Fleet, Response, drain_and_audit, eventually};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use serde_json::{Value, json};

const CLIENTS: usize = 16;
/// Orders that are confirmed before the stop.
const BEFORE: usize = 120;

fn order_body() -> Value {
    json!({"lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]})
}

/// The idempotency keys of the requests, each with its response, if there was one.
type Sent = HashMap<String, Option<Response>>;

/// Sends orders one after the other, each with a new key, until the fleet does not respond.
async fn run_client(client: Client, number: usize, confirmed: Arc<AtomicUsize>) -> Sent {
    let mut sent = Sent::new();
    for order in 0.. {
        let key = format!("client-{number}-order-{order}");
        let response = client.post_once("/api/orders", &key, &order_body()).await.ok();
        let responding = response.as_ref().is_some_and(|response| response.status < 500);
        if response.as_ref().is_some_and(|response| response.status == 201) {
            confirmed.fetch_add(1, Ordering::Relaxed);
        }
        sent.insert(key, response);
        if !responding {
            break;
        }
    }
    sent
}

/// Puts load on a fleet, stops it under load with `end`, starts it again and checks all orders.
async fn end_under_load<F>(folder: &Path, end: impl FnOnce(Fleet) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let fleet = Fleet::start(folder).await?;
    // Enough for every client, so that no order is refused.
    let more = json!({"product_id": "TEA-ASSAM-250", "place_id": "logistics", "delta": 1_000_000, "reason": "load"});
    fleet.client("admin").post("/api/stock/adjustments", &more).await?.expect(201)?;
    let confirmed = Arc::new(AtomicUsize::new(0));
    let customer = fleet.client("customer");
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(run_client(customer.clone(), number, Arc::clone(&confirmed)))).collect();
    eventually("a load", || async { Ok((confirmed.load(Ordering::Relaxed) >= BEFORE).then_some(())) }).await?;
    end(fleet).await?;
    let mut sent = Sent::new();
    for responses in join_all(clients).await {
        sent.extend(responses?);
    }
    let confirmed = sent.values().flatten().filter(|response| response.status == 201).count();
    ensure!(confirmed >= BEFORE, "only {confirmed} of {} were confirmed", sent.len());

    let fleet = Fleet::start(folder).await?;
    let customer = fleet.client("customer");
    eventually("every order is terminal", || async {
        let open = customer.get("/api/orders?status=pending").await?.expect(200)?;
        Ok(open["data"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    // Repeats every request: completed ones return the same response, the others the one order of their key.
    let customer = &customer;
    let again: Vec<(String, Option<Response>, Response)> = stream::iter(sent.clone())
        .map(|(key, before)| async move {
            let again = customer.post_once("/api/orders", &key, &order_body()).await?;
            Ok::<_, anyhow::Error>((key, before, again))
        })
        .buffer_unordered(CLIENTS)
        .try_collect()
        .await?;
    for (key, before, again) in again {
        let order = again.expect(201)?;
        ensure!(order["state"] == "CONFIRMED", "{key}: {order}");
        if let Some(before) = before.filter(|before| before.status < 500 && before.status != 202) {
            ensure!(
                before.status == 201 && before.body == again.body,
                "{key}: {} then {}",
                before.text(),
                again.text()
            );
        }
    }
    let orders = customer.all("/api/orders").await?;
    ensure!(orders.len() == sent.len(), "{} orders of {} requests", orders.len(), sent.len());
    ensure!(orders.iter().all(|order| order["state"] == "CONFIRMED"), "an order is not confirmed");
    let found = drain_and_audit(fleet).await?;
    assert_eq!(found.count("confirmed orders have one"), sent.len() as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_no_order_and_doubles_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    end_under_load(folder.path(), Fleet::terminate).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_under_load_loses_no_order_and_doubles_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    end_under_load(folder.path(), Fleet::kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fleets_on_one_folder_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let second = Fleet::start(folder.path()).await;
    let error = format!("{:#}", second.err().unwrap_or_else(|| anyhow::anyhow!("it started")));
    ensure!(error.contains("another fleet runs on") && error.contains("--data"), "{error}");
    fleet.client("customer").post("/api/orders", &order_body()).await?.expect(201)?;
    fleet.terminate().await
}
