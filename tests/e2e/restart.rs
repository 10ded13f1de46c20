//! Stops and kills under load: what was answered holds, what was not is found or made, once.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Result, ensure};
use fleet_tests::{Answer, Client, Fleet, drained, eventually};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use serde_json::{Value, json};

const CLIENTS: usize = 16;
/// Orders that are confirmed before the stop.
const BEFORE: usize = 120;

fn body() -> Value {
    json!({"lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]})
}

/// What the clients sent, by key, and what they heard.
type Sent = HashMap<String, Option<Answer>>;

/// One client: an order after the other, each with a key of its own, until the fleet does not answer.
async fn client(client: Client, number: usize, confirmed: Arc<AtomicUsize>) -> Sent {
    let mut sent = Sent::new();
    for order in 0.. {
        let key = format!("client-{number}-order-{order}");
        let answer = client.post_once("/api/orders", &key, &body()).await.ok();
        let going = answer.as_ref().is_some_and(|answer| answer.status < 500);
        if answer.as_ref().is_some_and(|answer| answer.status == 201) {
            confirmed.fetch_add(1, Ordering::Relaxed);
        }
        sent.insert(key, answer);
        if !going {
            break;
        }
    }
    sent
}

/// Puts load on a fleet, ends it in the middle by `end`, starts it again and looks at what it promised.
async fn ends_under_load<F>(folder: &Path, end: impl FnOnce(Fleet) -> F) -> Result<()>
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
        (0..CLIENTS).map(|number| tokio::spawn(client(customer.clone(), number, Arc::clone(&confirmed)))).collect();
    eventually("a load", || async { Ok((confirmed.load(Ordering::Relaxed) >= BEFORE).then_some(())) }).await?;
    end(fleet).await?;
    let mut sent = Sent::new();
    for heard in join_all(clients).await {
        sent.extend(heard?);
    }
    let confirmed = sent.values().flatten().filter(|answer| answer.status == 201).count();
    ensure!(confirmed >= BEFORE, "only {confirmed} of {} were confirmed", sent.len());

    let fleet = Fleet::start(folder).await?;
    let customer = fleet.client("customer");
    eventually("every order is terminal", || async {
        let open = customer.get("/api/orders?status=pending").await?.expect(200)?;
        Ok(open["data"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    // Every request comes again: the answered ones to the same answer, the others to their one order.
    let customer = &customer;
    let again: Vec<(String, Option<Answer>, Answer)> = stream::iter(sent.clone())
        .map(|(key, before)| async move {
            let again = customer.post_once("/api/orders", &key, &body()).await?;
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
    let found = drained(fleet).await?;
    assert_eq!(found.count("confirmed orders have one"), sent.len() as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_breaks_no_promise() -> Result<()> {
    let folder = tempfile::tempdir()?;
    ends_under_load(folder.path(), Fleet::terminate).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_under_load_breaks_no_promise() -> Result<()> {
    let folder = tempfile::tempdir()?;
    ends_under_load(folder.path(), Fleet::kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fleets_on_one_folder_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let second = Fleet::start(folder.path()).await;
    let told = format!("{:#}", second.err().unwrap_or_else(|| anyhow::anyhow!("it started")));
    ensure!(told.contains("another fleet runs on") && told.contains("--data"), "{told}");
    fleet.client("customer").post("/api/orders", &body()).await?.expect(201)?;
    fleet.terminate().await
}
