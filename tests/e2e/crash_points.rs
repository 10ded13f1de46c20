//! A crash at every durable write and every send of the saga: start again, and nothing is lost or doubled.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, copy_folder, drained, eventually};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

/// Fleets at once; most of their time goes into waiting for each other's disks.
const AT_ONCE: usize = 6;
const PRODUCT: &str = "TEA-ASSAM-250";
/// Above the sandbox's limit.
const DEAR: &str = "1";
const LIMIT: (&str, &str) = ("SOUK_PAYMENT_SANDBOX_LIMIT", "500");
/// Makes the sandbox behave as a provider over the network does.
const FOREIGN: (&str, &str) = ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "5");
const SIGABRT: i32 = 6;

/// What is going on when the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Buying,
    RefusedPayment,
    RefusedStock,
    Cancelling,
    Returning,
    Moving,
}

use Scenario::{Buying, Cancelling, Moving, RefusedPayment, RefusedStock, Returning};

/// In what each point is reached. A point that is missing here is missing in the test.
fn scenarios(point: &str) -> &'static [Scenario] {
    let (stem, _) = point.rsplit_once('.').unwrap_or((point, ""));
    match stem {
        "order.place" | "order.reserve" => &[Buying, RefusedStock],
        "order.charge" | "payment.authorize" => &[Buying, RefusedPayment],
        // A shortage writes nothing.
        "order.confirm" | "stock.reserve" | "stock.commit" | "relay.publish" | "relay.mark" => &[Buying],
        "order.decide" => &[RefusedPayment, Cancelling],
        "order.cancel" => &[RefusedPayment, RefusedStock, Cancelling],
        "order.release" | "stock.release" => &[RefusedPayment],
        "order.void" | "payment.void" => &[Cancelling],
        "order.return" | "order.refund" | "order.refunded" | "payment.refund" => &[Returning],
        "stock.restock" => &[Cancelling, Returning],
        "order.status" => &[Moving],
        _ => &[],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_loses_nothing_and_doubles_nothing() -> Result<()> {
    let points = points().await?;
    ensure!(points.len() >= 30, "only {points:?}");
    let template = tempfile::tempdir()?;
    drained(Fleet::start(template.path()).await?).await?;
    let mut runs = Vec::new();
    for point in &points {
        let known = scenarios(point);
        ensure!(!known.is_empty(), "{point}: no scenario reaches it; add one");
        runs.extend(known.iter().map(|scenario| (point.clone(), *scenario, &[][..])));
        // A foreign provider's operation is two writes: what is intended, and what became of it.
        if point.starts_with("payment.") {
            runs.extend(
                known
                    .iter()
                    .flat_map(|scenario| [1, 2].map(|time| (format!("{point}:{time}"), *scenario, &[FOREIGN][..]))),
            );
        }
    }
    let results: Vec<_> = stream::iter(runs)
        .map(|(point, scenario, settings)| {
            let template = template.path();
            async move {
                let begun = Instant::now();
                let result = crash_and_resume(template, &point, scenario, settings).await;
                let verdict = result.as_ref().map_or_else(|error| format!("{error:#}"), |()| "ok".to_owned());
                eprintln!("{point:33} {scenario:15?} {:5} ms  {verdict}", begun.elapsed().as_millis());
                result.err().map(|error| format!("{point} while {scenario:?}: {error:#}"))
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failed: Vec<String> = results.into_iter().flatten().collect();
    ensure!(failed.is_empty(), "{} crashes are not survived:\n{}", failed.len(), failed.join("\n\n"));
    Ok(())
}

/// The names that the binary lists.
async fn points() -> Result<Vec<String>> {
    let listed = fleet_tests::souk_text(["crash-points"]).await?;
    Ok(listed.lines().map(ToOwned::to_owned).collect())
}

async fn crash_and_resume(template: &Path, point: &str, scenario: Scenario, settings: &[(&str, &str)]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    copy_folder(template, folder.path())?;
    let mut fleet = Fleet::start_with(folder.path(), &[&[LIMIT, ("SOUK_CRASH_AT", point)], settings].concat()).await?;
    let order = scenario.prepare(&fleet.client("customer")).await.context("before the crash")?;
    // Whether this is answered depends on the point; that the process dies does not.
    let _ = scenario.act(&fleet, &order).await;
    let status = fleet
        .death(Duration::from_secs(10))
        .await
        .with_context(|| format!("{point} was never reached while {scenario:?}"))?;
    ensure!(status.signal() == Some(SIGABRT), "{point}: it ended with {status}, not by abort\n{}", fleet.log());
    drop(fleet);

    let fleet =
        Fleet::start_with(folder.path(), &[&[LIMIT], settings].concat()).await.context("the start after the crash")?;
    // 202 says that it goes on: what was asked of a foreign provider is in doubt until its asker's lease ends.
    let answer = eventually("the same request again has its outcome", || async {
        let (status, answer) = scenario.act(&fleet, &order).await?;
        Ok((status != 202).then_some((status, answer)))
    });
    let (status, answer) = answer.await?;
    ensure!(status == scenario.answer(), "the same request again: {status} {answer}");
    scenario.check(&fleet, &order).await?;
    let found = drained(fleet).await?;
    ensure!(found.count("orders are terminal") == 1, "more orders than one: {:#}", found.report);
    Ok(())
}

impl Scenario {
    /// The order that is there before the crash; nothing if the crash is in its checkout.
    async fn prepare(self, customer: &Client) -> Result<Value> {
        match self {
            Buying | RefusedPayment | RefusedStock => Ok(Value::Null),
            Cancelling | Returning | Moving => {
                let body = json!({"lines": [{"product_id": PRODUCT, "quantity": 2}]});
                customer.post_once("/api/orders", "before", &body).await?.expect(201)
            }
        }
    }

    /// The request that is interrupted, and repeated after it.
    async fn act(self, fleet: &Fleet, order: &Value) -> Result<(u16, Value)> {
        let (customer, admin) = (fleet.client("customer"), fleet.client("admin"));
        let path = format!("/api/orders/{}", order["id"].as_str().unwrap_or_default());
        let buy = |product: &str, quantity: u32| json!({"lines": [{"product_id": product, "quantity": quantity}]});
        let answer = match self {
            Buying => customer.post_once("/api/orders", "key", &buy(PRODUCT, 2)).await?,
            RefusedPayment => customer.post_once("/api/orders", "key", &buy(DEAR, 1)).await?,
            RefusedStock => customer.post_once("/api/orders", "key", &buy(PRODUCT, 5_000)).await?,
            Cancelling => customer.post(&format!("{path}/cancel"), &json!({})).await?,
            Returning => {
                let body = json!({"id": "return-1", "lines": [{"line_id": "1", "quantity": 1}]});
                customer.post_once(&format!("{path}/returns"), "key", &body).await?
            }
            Moving => admin.put(&format!("{path}/status"), &json!({"status": "processing"})).await?,
        };
        Ok((answer.status, answer.json()?))
    }

    /// What the repeated request is answered with.
    const fn answer(self) -> u16 {
        match self {
            Buying | Returning => 201,
            RefusedPayment => 402,
            RefusedStock => 409,
            Cancelling | Moving => 200,
        }
    }

    /// What must have become of the order, its goods and its money.
    async fn check(self, fleet: &Fleet, _order: &Value) -> Result<()> {
        let admin = fleet.client("admin");
        let orders = admin.all("/api/orders").await?;
        ensure!(orders.len() == 1, "{} orders of one request: {orders:?}", orders.len());
        let order = &orders[0];
        let (state, status) = match self {
            Buying | Returning => ("CONFIRMED", "confirmed"),
            Moving => ("CONFIRMED", "processing"),
            RefusedPayment | RefusedStock | Cancelling => ("CANCELLED", "cancelled"),
        };
        ensure!(order["state"] == state && order["status"] == status, "the order is {order}");
        let on_hand = match self {
            Buying | Moving => 998,
            Returning => 999,
            RefusedPayment | RefusedStock | Cancelling => 1_000,
        };
        let product = if self == RefusedPayment { DEAR } else { PRODUCT };
        eventually(&format!("{on_hand} of {product} on hand, none reserved"), || async {
            Ok((admin.level(product, "logistics").await? == (on_hand, 0)).then_some(()))
        })
        .await?;
        let id = order["id"].as_str().context("an id")?;
        let payment = eventually("the payment is in no doubt", || async {
            let payment = admin.get(&format!("/api/payments/{id}")).await?;
            Ok((payment.json()?["status"] != "in_doubt").then_some(payment))
        })
        .await?;
        let paid = payment.json()?["status"].as_str().unwrap_or("none").to_owned();
        let right = match self {
            Buying | Moving => paid == "captured",
            Returning => paid == "partly_refunded",
            Cancelling => ["voided", "refunded"].contains(&paid.as_str()),
            RefusedPayment => ["refused", "voided"].contains(&paid.as_str()),
            RefusedStock => payment.status == 404,
        };
        ensure!(right, "the payment is {}", payment.text());
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
