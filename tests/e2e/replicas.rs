//! Two replicas each of the order, stock and payment services: they share the load, and one is sufficient.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Load, Processes, SANDBOX_LIMIT, Servers, eventually, order_body};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::Value;

use crate::chaos::{check_one_order_per_key, print_result, settle_and_audit, wait_until_terminal};

/// The default lease: the longest time that the orders of a killed replica wait.
const LEASE: Duration = Duration::from_secs(10);
/// Additional time to finish them, on a loaded machine. The test prints the measured time.
const MARGIN: Duration = Duration::from_secs(50);
/// The number of orders sent to a replica right before it is killed.
const DIRECT_ORDERS: usize = 12;

/// Sends orders directly to one replica, past the gateway. It responds as soon as they are stored, and the replica that has stored
/// an order drives its saga. So the orders that are pending when the replica is killed were driven by it.
async fn place_directly(replica: &Client) -> Result<Vec<(String, u16, Value)>> {
    // `order_body` returns an order that succeeds for multiples of 12.
    try_join_all((0..DIRECT_ORDERS).map(|n| 12 * n).map(|n| async move {
        let key = format!("direct-{n}");
        let request = replica.request(Method::POST, "/api/orders").json(&order_body(n));
        let request = request.header("idempotency-key", &key).header("prefer", "respond-async");
        // A slow response leads to a repeat with the same key.
        let taken = eventually("an order is accepted", || async {
            let request = request.try_clone().context("the body cannot be cloned")?;
            Ok(Some(replica.send(request).await?.expect(202)?))
        })
        .await?;
        Ok((key, 202, taken))
    }))
    .await
}

/// The number of orders that are still pending.
async fn count_pending(survivor: &Client, orders: &[(String, u16, Value)]) -> Result<usize> {
    let paths = orders.iter().map(|(_, _, order)| format!("/api/orders/{}", order["id"].as_str().unwrap_or_default()));
    let orders = try_join_all(paths.map(|path| async move {
        eventually("an order", || async { Ok(Some(survivor.get(&path).await?.expect(200)?)) }).await
    }))
    .await?;
    Ok(orders.iter().filter(|order| order["status"] == "pending").count())
}

/// Kills the first replica of the order service while it drives orders. Returns the orders, the number of pending ones, and the
/// time from the kill until the last of them is terminal. That time consists of the rest of the lease, the interval of the takeover
/// job, and the rest of the saga. The orders are not requested again; a repeat would not end one sooner, since a replica waits
/// for the holder of the lease.
async fn measure_takeover(
    fleet: &mut Processes,
    admin: &Client,
) -> Result<(Vec<(String, u16, Value)>, usize, Duration)> {
    let survivor = admin.at(&fleet.replica_url("order", 1));
    let before = fleet.metric("order", 1, "saga_takeovers_total").await;
    let direct = place_directly(&admin.at(&fleet.replica_url("order", 0))).await?;
    fleet.kill("order", 0).await?;
    let killed = Instant::now();
    let pending = count_pending(&survivor, &direct).await?;
    ensure!(pending > 0, "the killed replica drove no pending order, so the test proves nothing");
    loop {
        let open = count_pending(&survivor, &direct).await?;
        let waited = killed.elapsed();
        ensure!(
            waited < LEASE + MARGIN,
            "after {waited:?} {open} of {pending} orders are not taken over\n{}",
            fleet.log()
        );
        if open == 0 {
            // Most of the lease time was left, unless the machine was slow to store these orders.
            ensure!(
                waited > LEASE / 4,
                "{pending} orders ended only {waited:?} after the kill, before their leases expired"
            );
            let taken = fleet.metric("order", 1, "saga_takeovers_total").await - before;
            ensure!(
                taken >= f64::from(u32::try_from(pending)?),
                "{pending} orders were pending, but {taken} taken over"
            );
            return Ok((direct, pending, waited));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn a_kill_of_one_replica_of_each_under_load_loses_no_order_and_doubles_none() -> Result<()> {
    let servers = Servers::from_env()?;
    let folder = tempfile::tempdir()?;
    let two = [("order", 2), ("stock", 2), ("payment", 2)];
    // The payment provider is slow, so that a killed replica has pending orders.
    let env = [SANDBOX_LIMIT, ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "500")];
    let mut fleet = Processes::start(folder.path(), servers.create_stores().await?, &env, &two).await?;
    let admin = fleet.client("admin").await?;
    Load::add_products(&admin).await?;
    let load = Load::start(&admin, 12, Duration::from_millis(5));
    for (service, _) in two {
        for n in [0, 1] {
            let name = if service == "order" { "http_requests_total" } else { "grpc_requests_total" };
            eventually(&format!("{service} {n} gets its share of the load"), || async {
                Ok((fleet.metric(service, n, name).await > 10.0).then_some(()))
            })
            .await?;
        }
    }

    let (direct, pending, takeover) = measure_takeover(&mut fleet, &admin).await?;
    fleet.kill("stock", 1).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.kill("payment", 0).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    // The other replica of the order service is paused for longer than its leases, so that it has lost them when it continues.
    fleet.run("order", 0)?;
    fleet.wait_until_ready("order", 0).await?;
    fleet.signal("order", 1, "STOP").await?;
    tokio::time::sleep(LEASE + Duration::from_secs(3)).await;
    fleet.signal("order", 1, "CONT").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut result = load.stop().await?;
    result.responses.extend(direct);
    wait_until_terminal(&admin, Duration::from_secs(60)).await?;
    let takeovers =
        fleet.metric("order", 0, "saga_takeovers_total").await + fleet.metric("order", 1, "saga_takeovers_total").await;
    let counts = check_one_order_per_key(&admin, &result.responses).await?;
    print_result(&format!(
        "replicas: {} orders, {} confirmed, {} cancelled; a replica was killed with {pending} pending orders, the last of them \
         ended {:.1} s later; {takeovers} takeovers, {} requests repeated",
        result.responses.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        takeover.as_secs_f64(),
        result.repeats,
    ));
    ensure!(takeovers > 0.0, "no order was taken over, so the test proves nothing");
    settle_and_audit(&mut fleet, folder.path()).await
}
