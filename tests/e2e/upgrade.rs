//! A rolling upgrade: processes of an earlier version and of this version run concurrently on the same stores, under load.
//! `tests/upgrade` builds the earlier version and runs this test.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use fleet_tests::{Load, Processes, SANDBOX_LIMIT, SERVICES, Servers, path_from_env};

use crate::chaos::{check_one_order_per_key, print_result, settle_and_audit, wait_until_terminal};

/// How long both versions run concurrently.
const OVERLAP: Duration = Duration::from_secs(6);
/// Time-out for a restart of the earlier version.
const RESTART_TIMEOUT: Duration = Duration::from_secs(20);
/// The services whose schema may have new migrations that the earlier version does not know.
const WITH_SCHEMA: [&str; 4] = ["product", "stock", "payment", "notification"];
/// The error of a version that refuses a schema with unknown migrations.
const REFUSED: &str = "missing in the resolved migrations";

/// Restarts a replica of the earlier version on the migrated schema, as after an eviction of its pod. Returns whether it becomes
/// ready: a version that refuses unknown migrations does not, which no change in this version can fix.
async fn restart_old_replica(fleet: &mut Processes, old: &Path, service: &'static str) -> Result<bool> {
    fleet.stop(service, 0).await?;
    fleet.run_from(old, service, 0)?;
    if let Ok(ready) = tokio::time::timeout(RESTART_TIMEOUT, fleet.wait_until_ready(service, 0)).await {
        return ready.map(|()| true);
    }
    let log = std::fs::read_to_string(fleet.data().join(format!("{service}-0.log")))?;
    ensure!(log.contains(REFUSED), "{service} of the earlier version does not start again\n{}", fleet.log());
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs of an earlier version: tests/upgrade makes them"]
async fn an_earlier_version_hands_over_to_this_one_under_load() -> Result<()> {
    let (old, servers) = (path_from_env("SOUK_TEST_EARLIER")?, Servers::from_env()?);
    let folder = tempfile::tempdir()?;
    // The payment provider is slow, so that a stopped replica has pending orders.
    let env = [SANDBOX_LIMIT, ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "20")];
    let mut fleet = Processes::start_from(&old, folder.path(), servers.create_stores().await?, &env).await?;
    let admin = fleet.client("admin").await?;
    Load::add_products(&admin).await?;
    let load = Load::start(&admin, 8, Duration::from_millis(5));
    tokio::time::sleep(Duration::from_secs(3)).await;

    // The new replicas migrate the schemas while the old ones use them.
    for service in SERVICES {
        fleet.run(service, 1)?;
        fleet.wait_until_ready(service, 1).await?;
    }
    // Existing connections of the gateway stay with the old replicas, so the new one is called directly too.
    let direct = admin.at(&fleet.replica_url("order", 1));
    let direct_load = Load::start_named("new", &direct, 4, Duration::from_millis(5));
    tokio::time::sleep(OVERLAP).await;
    let mut requests = Vec::new();
    for n in [0, 1] {
        requests.push(fleet.metric("order", n, "http_requests_total").await);
    }
    ensure!(
        requests.iter().all(|count| *count > 10.0),
        "the versions do not share the load: {requests:?}\n{}",
        fleet.log()
    );

    let (mut restarted, mut refused) = (Vec::new(), Vec::new());
    for service in WITH_SCHEMA {
        if restart_old_replica(&mut fleet, &old, service).await? { &mut restarted } else { &mut refused }.push(service);
    }
    print_result(&format!(
        "upgrade: services of the earlier version restarted on the new schema: ready {restarted:?}, refused {refused:?}"
    ));

    for service in SERVICES {
        if service == "order" || refused.contains(&service) {
            // The order service is killed, so that the new replica must take over its orders. A service that refused the schema
            // has exited already.
            fleet.kill(service, 0).await?;
        } else {
            fleet.stop(service, 0).await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut result, new) = (load.stop().await?, direct_load.stop().await?);
    result.responses.extend(new.responses);
    result.repeats += new.repeats;
    wait_until_terminal(&admin, Duration::from_secs(60)).await?;
    let counts = check_one_order_per_key(&admin, &result.responses).await?;
    let takeovers = fleet.metric("order", 1, "saga_takeovers_total").await;
    print_result(&format!(
        "upgrade: {} orders, {} confirmed, {} cancelled, {takeovers} taken over from the earlier version; {} requests repeated",
        result.responses.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        result.repeats,
    ));
    ensure!(takeovers > 0.0, "no order was taken over, so the test proves nothing");
    settle_and_audit(&mut fleet, folder.path()).await
}
