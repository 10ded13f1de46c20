//! Two replicas of the services that hold orders, stock and money: they share the work, and one is enough.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet_tests::{Client, LIMIT, Load, Processes, Servers, eventually, on_servers};

use crate::chaos::{one_order_a_key, settled, tell, terminal};

/// What a dead replica's orders wait for at most, by default.
const LEASE: Duration = Duration::from_secs(10);

/// Orders that somebody drives now.
async fn open(admin: &Client) -> Result<Vec<String>> {
    // Just after a death a call may still go to the dead.
    let page = eventually("a list of orders", || async {
        Ok(Some(admin.get("/api/orders?status=pending&limit=100").await?.expect(200)?))
    })
    .await?;
    let orders = page["data"].as_array().cloned().unwrap_or_default();
    Ok(orders.iter().filter_map(|order| order["id"].as_str().map(ToOwned::to_owned)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_of_each_dies_under_load_and_no_order_is_lost_or_doubled() -> Result<()> {
    let Some(servers) = Servers::given().filter(|_| on_servers()) else {
        tell("left out: replicas want servers (SOUK_TEST_FLEET=servers)");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let two = [("order", 2), ("stock", 2), ("payment", 2)];
    // The provider takes its time, so that whoever dies has orders in hand.
    let env = [LIMIT, ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "20")];
    let mut fleet = Processes::start(folder.path(), servers.stores().await?, &env, &two).await?;
    let admin = fleet.client("admin").await?;
    Load::goods(&admin).await?;
    let load = Load::start(&admin, 12, Duration::from_millis(5));
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (service, _) in two {
        for n in [0, 1] {
            let name = if service == "order" { "http_requests_total" } else { "grpc_requests_total" };
            let asked = fleet.metric(service, n, name).await;
            ensure!(asked > 10.0, "{service} {n} was asked {asked} times only: the replicas do not share the work");
        }
    }

    fleet.kill("order", 0).await?;
    let (killed, in_hand) = (Instant::now(), open(&admin).await?);
    let mut takeover = None;
    while takeover.is_none() {
        let now_open = open(&admin).await?;
        if in_hand.iter().all(|id| !now_open.contains(id)) {
            takeover = Some(killed.elapsed());
        }
        ensure!(killed.elapsed() < 3 * LEASE, "{now_open:?} of {in_hand:?} wait for a dead replica\n{}", fleet.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

    let heard = load.stop().await?;
    terminal(&admin, Duration::from_secs(60)).await?;
    let takeovers =
        fleet.metric("order", 0, "saga_takeovers_total").await + fleet.metric("order", 1, "saga_takeovers_total").await;
    let counts = one_order_a_key(&admin, &heard.answers).await?;
    let takeover = takeover.unwrap_or_default();
    tell(&format!(
        "replicas: {} orders, {} confirmed, {} cancelled; {} in the hands of two replicas when one died, all of them ended {:.1} s \
         later; {takeovers} takeovers, {} requests sent again",
        heard.answers.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        in_hand.len(),
        takeover.as_secs_f64(),
        heard.repeats,
    ));
    ensure!(takeovers > 0.0, "nothing was taken over: the test shows nothing");
    ensure!(takeover < LEASE + Duration::from_secs(2), "the takeover took {takeover:?}");
    settled(&mut fleet, folder.path()).await
}
