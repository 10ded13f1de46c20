//! A crash at every durable write and every send of the saga: after a restart nothing is lost or doubled.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, copy_folder, drain_and_audit, eventually};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

/// The number of concurrent fleets. They mostly wait for the disk.
const CONCURRENCY: usize = 6;
const PRODUCT: &str = "TEA-ASSAM-250";
/// A product with a price above the sandbox's limit.
const EXPENSIVE: &str = "1";
const SANDBOX_LIMIT: (&str, &str) = ("SOUK_PAYMENT_SANDBOX_LIMIT", "500");
/// Makes the sandbox behave like a remote payment provider.
const REMOTE_PROVIDER: (&str, &str) = ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "5");
const SIGABRT: i32 = 6;

/// The request during which the process crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Buying,
    RefusedPayment,
    RefusedStock,
    Cancelling,
    Returning,
    ChangingStatus,
}

use Scenario::{Buying, Cancelling, ChangingStatus, RefusedPayment, RefusedStock, Returning};

/// The scenarios that reach a crash point. A point without a scenario fails the test.
fn scenarios(point: &str) -> &'static [Scenario] {
    let (stem, _) = point.rsplit_once('.').unwrap_or((point, ""));
    match stem {
        "order.place" | "order.reserve" => &[Buying, RefusedStock],
        "order.charge" | "payment.authorize" => &[Buying, RefusedPayment],
        // A stock shortage writes nothing.
        "order.confirm" | "stock.reserve" | "stock.commit" | "relay.publish" | "relay.mark" => &[Buying],
        "order.decide" => &[RefusedPayment, Cancelling],
        "order.cancel" => &[RefusedPayment, RefusedStock, Cancelling],
        "order.release" | "stock.release" => &[RefusedPayment],
        "order.void" | "payment.void" => &[Cancelling],
        "order.return" | "order.refund" | "order.refunded" | "payment.refund" => &[Returning],
        "stock.restock" => &[Cancelling, Returning],
        "order.status" => &[ChangingStatus],
        _ => &[],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_loses_nothing_and_doubles_nothing() -> Result<()> {
    let points = crash_points().await?;
    ensure!(points.len() >= 30, "only {points:?}");
    let template = tempfile::tempdir()?;
    drain_and_audit(Fleet::start(template.path()).await?).await?;
    let mut runs = Vec::new();
    for point in &points {
        let reaching = scenarios(point);
        ensure!(!reaching.is_empty(), "{point}: no scenario reaches it; add one");
        runs.extend(reaching.iter().map(|scenario| (point.clone(), *scenario, &[][..])));
        // With a remote provider an operation is two writes: its start and its outcome.
        if point.starts_with("payment.") {
            runs.extend(reaching.iter().flat_map(|scenario| {
                [1, 2].map(|time| (format!("{point}:{time}"), *scenario, &[REMOTE_PROVIDER][..]))
            }));
        }
    }
    let results: Vec<_> = stream::iter(runs)
        .map(|(point, scenario, settings)| {
            let template = template.path();
            async move {
                let started = Instant::now();
                let result = crash_and_resume(template, &point, scenario, settings).await;
                let verdict = result.as_ref().map_or_else(|error| format!("{error:#}"), |()| "ok".to_owned());
                eprintln!("{point:33} {scenario:15?} {:5} ms  {verdict}", started.elapsed().as_millis());
                result.err().map(|error| format!("{point} while {scenario:?}: {error:#}"))
            }
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let failed: Vec<String> = results.into_iter().flatten().collect();
    ensure!(failed.is_empty(), "{} crashes lost or doubled something:\n{}", failed.len(), failed.join("\n\n"));
    Ok(())
}

/// The names of the crash points, as the binary lists them.
async fn crash_points() -> Result<Vec<String>> {
    let listed = fleet_tests::souk_text(["crash-points"]).await?;
    Ok(listed.lines().map(ToOwned::to_owned).collect())
}

async fn crash_and_resume(template: &Path, point: &str, scenario: Scenario, settings: &[(&str, &str)]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    copy_folder(template, folder.path())?;
    let mut fleet =
        Fleet::start_with(folder.path(), &[&[SANDBOX_LIMIT, ("SOUK_CRASH_AT", point)], settings].concat()).await?;
    let order = scenario.prepare(&fleet.client("customer")).await.context("before the crash")?;
    // The request may fail or succeed, depending on the crash point; the process must crash in any case.
    let _ = scenario.send(&fleet, &order).await;
    let status = fleet
        .wait_for_exit(Duration::from_secs(10))
        .await
        .with_context(|| format!("{point} was never reached while {scenario:?}"))?;
    ensure!(
        status.signal() == Some(SIGABRT),
        "{point}: the process exited with {status}, not by abort\n{}",
        fleet.log()
    );
    drop(fleet);

    let fleet = Fleet::start_with(folder.path(), &[&[SANDBOX_LIMIT], settings].concat())
        .await
        .context("the start after the crash")?;
    // 202: still in progress. An operation of a remote provider is in doubt until the lease of the crashed process expires.
    let response = eventually("the repeated request has its outcome", || async {
        let (status, response) = scenario.send(&fleet, &order).await?;
        Ok((status != 202).then_some((status, response)))
    });
    let (status, response) = response.await?;
    ensure!(status == scenario.expected_status(), "the repeated request: {status} {response}");
    scenario.check(&fleet, &order).await?;
    let found = drain_and_audit(fleet).await?;
    ensure!(found.count("orders are terminal") == 1, "more than one order: {:#}", found.report);
    Ok(())
}

impl Scenario {
    /// Places the order that the scenario needs before the crash; `Null` if the scenario itself is a checkout.
    async fn prepare(self, customer: &Client) -> Result<Value> {
        match self {
            Buying | RefusedPayment | RefusedStock => Ok(Value::Null),
            Cancelling | Returning | ChangingStatus => {
                let body = json!({"lines": [{"product_id": PRODUCT, "quantity": 2}]});
                customer.post_once("/api/orders", "before", &body).await?.expect(201)
            }
        }
    }

    /// Sends the request that the crash interrupts, and that is repeated after the restart.
    async fn send(self, fleet: &Fleet, order: &Value) -> Result<(u16, Value)> {
        let (customer, admin) = (fleet.client("customer"), fleet.client("admin"));
        let path = format!("/api/orders/{}", order["id"].as_str().unwrap_or_default());
        let buy = |product: &str, quantity: u32| json!({"lines": [{"product_id": product, "quantity": quantity}]});
        let response = match self {
            Buying => customer.post_once("/api/orders", "key", &buy(PRODUCT, 2)).await?,
            RefusedPayment => customer.post_once("/api/orders", "key", &buy(EXPENSIVE, 1)).await?,
            RefusedStock => customer.post_once("/api/orders", "key", &buy(PRODUCT, 5_000)).await?,
            Cancelling => customer.post(&format!("{path}/cancel"), &json!({})).await?,
            Returning => {
                let body = json!({"id": "return-1", "lines": [{"line_id": "1", "quantity": 1}]});
                customer.post_once(&format!("{path}/returns"), "key", &body).await?
            }
            ChangingStatus => admin.put(&format!("{path}/status"), &json!({"status": "processing"})).await?,
        };
        Ok((response.status, response.json()?))
    }

    /// The status of the response to the repeated request.
    const fn expected_status(self) -> u16 {
        match self {
            Buying | Returning => 201,
            RefusedPayment => 402,
            RefusedStock => 409,
            Cancelling | ChangingStatus => 200,
        }
    }

    /// Checks the order, its stock and its payment.
    async fn check(self, fleet: &Fleet, _order: &Value) -> Result<()> {
        let admin = fleet.client("admin");
        let orders = admin.all("/api/orders").await?;
        ensure!(orders.len() == 1, "{} orders of one request: {orders:?}", orders.len());
        let order = &orders[0];
        let (state, status) = match self {
            Buying | Returning => ("CONFIRMED", "confirmed"),
            ChangingStatus => ("CONFIRMED", "processing"),
            RefusedPayment | RefusedStock | Cancelling => ("CANCELLED", "cancelled"),
        };
        ensure!(order["state"] == state && order["status"] == status, "the order is {order}");
        let on_hand = match self {
            Buying | ChangingStatus => 998,
            Returning => 999,
            RefusedPayment | RefusedStock | Cancelling => 1_000,
        };
        let product = if self == RefusedPayment { EXPENSIVE } else { PRODUCT };
        eventually(&format!("{on_hand} of {product} on hand, none reserved"), || async {
            Ok((admin.level(product, "logistics").await? == (on_hand, 0)).then_some(()))
        })
        .await?;
        let id = order["id"].as_str().context("an id")?;
        let payment = eventually("the payment is not in doubt", || async {
            let payment = admin.get(&format!("/api/payments/{id}")).await?;
            Ok((payment.json()?["status"] != "in_doubt").then_some(payment))
        })
        .await?;
        let payment_status = payment.json()?["status"].as_str().unwrap_or("none").to_owned();
        let correct = match self {
            Buying | ChangingStatus => payment_status == "captured",
            Returning => payment_status == "partly_refunded",
            Cancelling => ["voided", "refunded"].contains(&payment_status.as_str()),
            RefusedPayment => ["refused", "voided"].contains(&payment_status.as_str()),
            RefusedStock => payment.status == 404,
        };
        ensure!(correct, "the payment is {}", payment.text());
        if self == Returning {
            let returns = eventually("the refund is made", || async {
                let returns = admin.get(&format!("/api/orders/{id}/returns")).await?.expect(200)?;
                Ok((returns["data"][0]["refund"]["status"] != "pending").then_some(returns))
            })
            .await?;
            ensure!(returns["data"].as_array().is_some_and(|data| data.len() == 1), "the returns are {returns}");
            ensure!(
                returns["data"][0]["refund"] == json!({"amount": 8.9, "status": "done"}),
                "the return is {returns}"
            );
        }
        Ok(())
    }
}
