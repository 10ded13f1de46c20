//! Two replicas of the services that hold orders, stock and money: they share the work, and one is enough.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, LIMIT, Load, Processes, Servers, body, eventually};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::Value;

use crate::chaos::{one_order_a_key, settled, tell, terminal};

/// What a dead replica's orders wait for at most, by default.
const LEASE: Duration = Duration::from_secs(10);
/// What ending them may take on top, on a machine that has much else to do. How long it took is told.
const MARGIN: Duration = Duration::from_secs(50);
/// Orders given to a replica right before it dies.
const HANDED: usize = 12;

/// Gives orders to one replica, past the gateway. It answers as soon as they are written, and whoever has written an order
/// drives it: what is pending when the replica dies was in its hands.
async fn hand(replica: &Client) -> Result<Vec<(String, u16, Value)>> {
    // The first of each dozen is a plain one, which goes all the way.
    try_join_all((0..HANDED).map(|n| 12 * n).map(|n| async move {
        let key = format!("handed-{n}");
        let request = replica.request(Method::POST, "/api/orders").json(&body(n));
        let request = request.header("idempotency-key", &key).header("prefer", "respond-async");
        // Whoever is slow now is asked again, under the same key.
        let taken = eventually("an order is taken", || async {
            let request = request.try_clone().context("a request of one text")?;
            Ok(Some(replica.send(request).await?.expect(202)?))
        })
        .await?;
        Ok((key, 202, taken))
    }))
    .await
}

/// How many of them have not ended.
async fn pending(survivor: &Client, orders: &[(String, u16, Value)]) -> Result<usize> {
    let paths = orders.iter().map(|(_, _, order)| format!("/api/orders/{}", order["id"].as_str().unwrap_or_default()));
    let orders = try_join_all(paths.map(|path| async move {
        eventually("an order", || async { Ok(Some(survivor.get(&path).await?.expect(200)?)) }).await
    }))
    .await?;
    Ok(orders.iter().filter(|order| order["status"] == "pending").count())
}

/// Kills the first replica of orders with orders in hand; tells how many these were, and how long after the death the last of
/// them had ended. Nobody asks for these orders again, which would not end one sooner either: under a known key a replica
/// waits for who holds the lease. So it is the lease's rest, the survivor's next look, and the way to the end.
async fn taken_over(fleet: &mut Processes, admin: &Client) -> Result<(Vec<(String, u16, Value)>, usize, Duration)> {
    let survivor = admin.at(&fleet.replica_url("order", 1));
    let before = fleet.metric("order", 1, "saga_takeovers_total").await;
    let handed = hand(&admin.at(&fleet.replica_url("order", 0))).await?;
    fleet.kill("order", 0).await?;
    let killed = Instant::now();
    let in_hand = pending(&survivor, &handed).await?;
    ensure!(in_hand > 0, "the dead replica had nothing in hand: the test shows nothing");
    loop {
        let open = pending(&survivor, &handed).await?;
        let waited = killed.elapsed();
        ensure!(
            waited < LEASE + MARGIN,
            "after {waited:?} {open} of {in_hand} wait for a dead replica\n{}",
            fleet.log()
        );
        if open == 0 {
            // Its leases had most of their time left, unless the machine was slow in writing these orders.
            ensure!(waited > LEASE / 4, "somebody ended {in_hand} orders of a dead replica {waited:?} after its death");
            let taken = fleet.metric("order", 1, "saga_takeovers_total").await - before;
            ensure!(taken >= f64::from(u32::try_from(in_hand)?), "{in_hand} were in hand, {taken} taken over");
            return Ok((handed, in_hand, waited));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn one_replica_of_each_dies_under_load_and_no_order_is_lost_or_doubled() -> Result<()> {
    let servers = Servers::given()?;
    let folder = tempfile::tempdir()?;
    let two = [("order", 2), ("stock", 2), ("payment", 2)];
    // The provider takes its time, so that whoever dies has orders in hand.
    let env = [LIMIT, ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "500")];
    let mut fleet = Processes::start(folder.path(), servers.stores().await?, &env, &two).await?;
    let admin = fleet.client("admin").await?;
    Load::goods(&admin).await?;
    let load = Load::start(&admin, 12, Duration::from_millis(5));
    for (service, _) in two {
        for n in [0, 1] {
            let name = if service == "order" { "http_requests_total" } else { "grpc_requests_total" };
            eventually(&format!("{service} {n} has its share of the work"), || async {
                Ok((fleet.metric(service, n, name).await > 10.0).then_some(()))
            })
            .await?;
        }
    }

    let (handed, in_hand, takeover) = taken_over(&mut fleet, &admin).await?;
    fleet.kill("stock", 1).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.kill("payment", 0).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    // The other replica of orders is paused for longer than its leases, and finds them gone when it wakes.
    fleet.run("order", 0)?;
    fleet.ready("order", 0).await?;
    fleet.signal("order", 1, "STOP").await?;
    tokio::time::sleep(LEASE + Duration::from_secs(3)).await;
    fleet.signal("order", 1, "CONT").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut heard = load.stop().await?;
    heard.answers.extend(handed);
    terminal(&admin, Duration::from_secs(60)).await?;
    let takeovers =
        fleet.metric("order", 0, "saga_takeovers_total").await + fleet.metric("order", 1, "saga_takeovers_total").await;
    let counts = one_order_a_key(&admin, &heard.answers).await?;
    tell(&format!(
        "replicas: {} orders, {} confirmed, {} cancelled; a replica died with {in_hand} known ones in hand, the last of them ended \
         {:.1} s later; {takeovers} takeovers, {} requests sent again",
        heard.answers.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        takeover.as_secs_f64(),
        heard.repeats,
    ));
    ensure!(takeovers > 0.0, "nothing was taken over: the test shows nothing");
    settled(&mut fleet, folder.path()).await
}
