//! A fleet whose database loses connections around COMMIT, and holds commits back. A seed determines the faults:
//! `SOUK_CHAOS_SEED=7 … lost_commits` repeats them, as far as processes and a network repeat anything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_tests::{CommitFault, Load, PostgresProxy, Processes, SANDBOX_LIMIT, Servers};

use crate::chaos::{check_one_order_per_key, print_result, settle_and_audit, wait_until_terminal};

/// How long the faults last.
const FAULTS: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: ./test starts them"]
async fn commits_that_are_lost_or_not_answered_lose_no_order_and_double_none() -> Result<()> {
    let seed = std::env::var("SOUK_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut servers = Servers::from_env()?;
    let proxy = PostgresProxy::start(&servers.postgres, seed).await?;
    servers.postgres.clone_from(&proxy.url);
    let mut fleet = Processes::start(&data, servers.create_stores().await?, &[SANDBOX_LIMIT], &[]).await?;
    let admin = fleet.client("admin").await?;
    Load::add_products(&admin).await?;

    proxy.set_faults(true);
    let load = Load::start(&admin, 8, Duration::from_millis(20));
    tokio::time::sleep(FAULTS).await;
    proxy.set_faults(false);
    let result = load.stop().await?;
    wait_until_terminal(&admin, Duration::from_secs(60)).await.with_context(|| fleet.log())?;
    let counts = check_one_order_per_key(&admin, &result.responses).await?;
    let injected = proxy.injected();
    print_result(&format!(
        "lost commits, seed {seed}: {injected:?}; {} orders, {counts:?}; {} requests repeated: {:?}",
        result.responses.len(),
        result.repeats,
        result.reasons
    ));
    for kind in CommitFault::ALL {
        ensure!(injected.contains_key(&kind), "no {kind:?}: {injected:?}");
    }
    settle_and_audit(&mut fleet, &data).await
}
