//! A fleet on servers under a steady load, while everything is killed, paused or restarted in turn. The order of the
//! blows comes from a seed: `SOUK_CHAOS_SEED=7 cargo test -p fleet-tests chaos` repeats them.

use std::{
    collections::HashMap,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, LIMIT, Load, Processes, SERVICES, Server, Servers, audit, body};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// How long after the load every saga may take to end.
const AFTERMATH: Duration = Duration::from_secs(60);
/// How long a process is paused.
const PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill(&'static str),
    Pause(&'static str),
    Restart(usize),
}

/// The servers of this fleet alone, since they are stopped in the middle.
pub(crate) async fn own_servers(folder: &Path) -> Result<([Server; 3], Servers)> {
    let postgres = Server::start("postgres", folder).await?;
    let mongodb = Server::start("mongodb", folder).await?;
    let kafka = Server::start("kafka", folder).await?;
    let urls = Servers { postgres: postgres.url.clone(), mongodb: mongodb.url.clone(), kafka: kafka.url.clone() };
    Ok(([postgres, mongodb, kafka], urls))
}

/// Tells what a run found, also where the output of tests that pass is kept back.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn whatever_dies_and_comes_back_no_order_is_lost_or_doubled() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (servers, urls) = own_servers(folder.path()).await?;
    Box::pin(storm(&folder.path().join("data"), &servers, &urls)).await
}

async fn storm(data: &Path, servers: &[Server], urls: &Servers) -> Result<()> {
    let seed = std::env::var("SOUK_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    let mut fleet = Processes::start(data, urls.stores().await?, &[LIMIT], &[]).await?;
    let admin = fleet.client("admin").await?;
    Load::goods(&admin).await?;
    let mut blows: Vec<Blow> = SERVICES.into_iter().map(Blow::Kill).collect();
    blows.extend((0..servers.len()).map(Blow::Restart));
    let paused: Vec<&'static str> = SERVICES.into_iter().filter(|name| *name != "gateway").collect();
    blows.push(Blow::Pause(paused[random.random_range(0..paused.len())]));
    blows.shuffle(&mut random);
    tell(&format!("chaos, seed {seed}: {blows:?}"));

    let load = Load::start(&admin, 8, Duration::from_millis(20));
    let (mut kills, mut takeovers) = (0, 0.0);
    for blow in &blows {
        tokio::time::sleep(Duration::from_millis(random.random_range(1_500..3_000))).await;
        let rest = Duration::from_millis(random.random_range(500..3_000));
        match *blow {
            Blow::Kill(service) => {
                takeovers += fleet.metric("order", 0, "saga_takeovers_total").await * f64::from(service == "order");
                fleet.kill(service, 0).await?;
                kills += 1;
                tokio::time::sleep(rest).await;
                fleet.run(service, 0)?;
            }
            Blow::Pause(service) => {
                fleet.signal(service, 0, "STOP").await?;
                tokio::time::sleep(PAUSE).await;
                fleet.signal(service, 0, "CONT").await?;
            }
            Blow::Restart(n) => {
                servers[n].stop().await?;
                tokio::time::sleep(rest).await;
                servers[n].again().await?;
            }
        }
    }
    for service in SERVICES {
        fleet.ready(service, 0).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let heard = load.stop().await?;
    let ended = Instant::now();
    terminal(&admin, AFTERMATH).await.with_context(|| fleet.log())?;
    let calm = ended.elapsed();
    takeovers += fleet.metric("order", 0, "saga_takeovers_total").await;

    let counts = one_order_a_key(&admin, &heard.answers).await?;
    tell(&format!(
        "chaos: {} orders accepted, {} confirmed, {} cancelled; {} requests sent again; {kills} kills, 3 servers restarted, 1 \
         pause, {takeovers} takeovers; all terminal {:.1} s after the load",
        heard.answers.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        heard.repeats,
        calm.as_secs_f64(),
    ));
    settled(&mut fleet, data).await
}

/// Waits until every order is terminal.
pub(crate) async fn terminal(admin: &Client, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        let open = admin.get("/api/orders?status=pending").await?;
        let open = open.json().ok().and_then(|page| page["data"].as_array().map(Vec::len));
        if open == Some(0) {
            return Ok(());
        }
        ensure!(begun.elapsed() < patience, "after {patience:?} still open: {open:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends every request once more: it must lead to the one order that it made. Gives how many stand where.
pub(crate) async fn one_order_a_key(
    admin: &Client,
    answers: &[(String, u16, serde_json::Value)],
) -> Result<HashMap<&'static str, usize>> {
    let mut counts = HashMap::from([("CONFIRMED", 0), ("CANCELLED", 0)]);
    for (key, status, before) in answers {
        let number: usize = key.rsplit('-').next().context("a number")?.parse()?;
        let again = admin.post_once("/api/orders", key, &body(number)).await?;
        let order = again.json()?;
        let state = if again.status == 201 { "CONFIRMED" } else { "CANCELLED" };
        ensure!([201, 402, 409].contains(&again.status), "{key}: {status} {before}, then {} {order}", again.status);
        ensure!(*status == 202 || *status == again.status, "{key}: {status} {before}, then {} {order}", again.status);
        if *status != 202 {
            ensure!(*before == order, "{key}: {before}, then {order}");
        }
        *counts.entry(state).or_default() += 1;
    }
    let all = admin.all("/api/orders").await?;
    ensure!(all.len() == answers.len(), "{} orders of {} requests", all.len(), answers.len());
    let confirmed = all.iter().filter(|order| order["state"] == "CONFIRMED").count();
    ensure!(confirmed == counts["CONFIRMED"], "{confirmed} are confirmed, {counts:?} were told");
    Ok(counts)
}

/// Waits until every event has had its effect; then the audit must be clean, with nothing under way.
pub(crate) async fn settled(fleet: &mut Processes, data: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found = audit(data).await?;
        if found.is_clean() && found.pending() == 0 {
            break;
        }
        ensure!(begun.elapsed() < AFTERMATH, "the audit is not clean: {:#}\n{}", found.report, fleet.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fleet.terminate().await?;
    let found = audit(data).await?;
    ensure!(found.is_clean() && found.pending() == 0, "the audit is not clean: {:#}", found.report);
    Ok(())
}
