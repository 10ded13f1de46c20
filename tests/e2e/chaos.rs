//! A fleet on servers under a steady load, while all services and servers are killed, paused or restarted in turn. A seed
//! determines the order of the faults: `SOUK_CHAOS_SEED=7 cargo test -p fleet-tests chaos` repeats them.

use std::{
    collections::HashMap,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Load, Processes, SANDBOX_LIMIT, SERVICES, Server, Servers, audit, order_body};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Time-out for the end of all sagas after the load.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a process is paused.
const PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill(&'static str),
    Pause(&'static str),
    Restart(usize),
}

/// Starts servers only for this fleet, since the test stops them.
pub(crate) async fn own_servers(folder: &Path) -> Result<([Server; 3], Servers)> {
    let postgres = Server::start("postgres", folder).await?;
    let mongodb = Server::start("mongodb", folder).await?;
    let kafka = Server::start("kafka", folder).await?;
    let urls = Servers { postgres: postgres.url.clone(), mongodb: mongodb.url.clone(), kafka: kafka.url.clone() };
    Ok(([postgres, mongodb, kafka], urls))
}

/// Prints a result directly to stderr, past the output capture of the test harness.
pub(crate) fn print_result(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn kills_pauses_and_restarts_lose_no_order_and_double_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (servers, urls) = own_servers(folder.path()).await?;
    Box::pin(inject_faults(&folder.path().join("data"), &servers, &urls)).await
}

async fn inject_faults(data: &Path, servers: &[Server], urls: &Servers) -> Result<()> {
    let seed = std::env::var("SOUK_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    let mut fleet = Processes::start(data, urls.create_stores().await?, &[SANDBOX_LIMIT], &[]).await?;
    let admin = fleet.client("admin").await?;
    Load::add_products(&admin).await?;
    let mut faults: Vec<Fault> = SERVICES.into_iter().map(Fault::Kill).collect();
    faults.extend((0..servers.len()).map(Fault::Restart));
    let pausable: Vec<&'static str> = SERVICES.into_iter().filter(|name| *name != "gateway").collect();
    faults.push(Fault::Pause(pausable[random.random_range(0..pausable.len())]));
    faults.shuffle(&mut random);
    print_result(&format!("chaos, seed {seed}: {faults:?}"));

    let load = Load::start(&admin, 8, Duration::from_millis(20));
    let (mut kills, mut takeovers) = (0, 0.0);
    for fault in &faults {
        tokio::time::sleep(Duration::from_millis(random.random_range(1_500..3_000))).await;
        let downtime = Duration::from_millis(random.random_range(500..3_000));
        match *fault {
            Fault::Kill(service) => {
                takeovers += fleet.metric("order", 0, "saga_takeovers_total").await * f64::from(service == "order");
                fleet.kill(service, 0).await?;
                kills += 1;
                tokio::time::sleep(downtime).await;
                fleet.run(service, 0)?;
            }
            Fault::Pause(service) => {
                fleet.signal(service, 0, "STOP").await?;
                tokio::time::sleep(PAUSE).await;
                fleet.signal(service, 0, "CONT").await?;
            }
            Fault::Restart(n) => {
                servers[n].stop().await?;
                tokio::time::sleep(downtime).await;
                servers[n].restart().await?;
            }
        }
    }
    for service in SERVICES {
        fleet.wait_until_ready(service, 0).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let result = load.stop().await?;
    let load_ended = Instant::now();
    wait_until_terminal(&admin, SETTLE_TIMEOUT).await.with_context(|| fleet.log())?;
    let settle_time = load_ended.elapsed();
    takeovers += fleet.metric("order", 0, "saga_takeovers_total").await;

    let counts = check_one_order_per_key(&admin, &result.responses).await?;
    print_result(&format!(
        "chaos: {} orders accepted, {} confirmed, {} cancelled; {} requests repeated; {kills} kills, 3 servers restarted, 1 \
         pause, {takeovers} takeovers; all terminal {:.1} s after the load",
        result.responses.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        result.repeats,
        settle_time.as_secs_f64(),
    ));
    settle_and_audit(&mut fleet, data).await
}

/// Waits until every order is terminal.
pub(crate) async fn wait_until_terminal(admin: &Client, timeout: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let open = admin.get("/api/orders?status=pending").await?;
        let open = open.json().ok().and_then(|page| page["data"].as_array().map(Vec::len));
        if open == Some(0) {
            return Ok(());
        }
        ensure!(started.elapsed() < timeout, "after {timeout:?} still open: {open:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Repeats every request: each must return the order that it created. Returns the number of orders by state.
pub(crate) async fn check_one_order_per_key(
    admin: &Client,
    responses: &[(String, u16, serde_json::Value)],
) -> Result<HashMap<&'static str, usize>> {
    let mut counts = HashMap::from([("CONFIRMED", 0), ("CANCELLED", 0)]);
    for (key, status, first) in responses {
        let number: usize = key.rsplit('-').next().context("a number")?.parse()?;
        let again = admin.post_once("/api/orders", key, &order_body(number)).await?;
        let order = again.json()?;
        let state = if again.status == 201 { "CONFIRMED" } else { "CANCELLED" };
        ensure!([201, 402, 409].contains(&again.status), "{key}: {status} {first}, then {} {order}", again.status);
        ensure!(*status == 202 || *status == again.status, "{key}: {status} {first}, then {} {order}", again.status);
        if *status != 202 {
            ensure!(*first == order, "{key}: {first}, then {order}");
        }
        *counts.entry(state).or_default() += 1;
    }
    let all = admin.all("/api/orders").await?;
    ensure!(all.len() == responses.len(), "{} orders of {} requests", all.len(), responses.len());
    let confirmed = all.iter().filter(|order| order["state"] == "CONFIRMED").count();
    ensure!(confirmed == counts["CONFIRMED"], "{confirmed} orders are confirmed, but the responses were {counts:?}");
    Ok(counts)
}

/// Waits until every event is processed and the audit is clean with nothing in progress; then stops the fleet and audits again.
pub(crate) async fn settle_and_audit(fleet: &mut Processes, data: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = audit(data).await?;
        if found.is_clean() && found.pending() == 0 {
            break;
        }
        ensure!(started.elapsed() < SETTLE_TIMEOUT, "the audit is not clean: {:#}\n{}", found.report, fleet.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fleet.terminate().await?;
    let found = audit(data).await?;
    ensure!(found.is_clean() && found.pending() == 0, "the audit is not clean: {:#}", found.report);
    Ok(())
}
