//! An upgrade without a stop: the processes of an earlier version and the new ones side by side on the same stores, with
//! orders under way. `tests/upgrade` builds the earlier version and runs this.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use fleet_tests::{LIMIT, Load, Processes, SERVICES, Servers, given};

use crate::chaos::{one_order_a_key, settled, tell, terminal};

/// How long both versions work together.
const TOGETHER: Duration = Duration::from_secs(6);
/// How long the earlier version may take to be ready again.
const AGAIN: Duration = Duration::from_secs(20);
/// Those whose schema may have got steps that the earlier version does not know.
const WITH_SCHEMA: [&str; 4] = ["product", "stock", "payment", "notification"];
/// What a version says that wants to know every step of its schema.
const REFUSED: &str = "missing in the resolved migrations";

/// Starts a replica of the earlier version again on the schema that the new one has brought up to date, as when its pod is
/// evicted meanwhile. Tells whether it is ready; a version that refuses steps which it does not know is not, and no change of
/// this one helps.
async fn comes_again(fleet: &mut Processes, old: &Path, service: &'static str) -> Result<bool> {
    fleet.end(service, 0).await?;
    fleet.run_from(old, service, 0)?;
    if let Ok(ready) = tokio::time::timeout(AGAIN, fleet.ready(service, 0)).await {
        return ready.map(|()| true);
    }
    let log = std::fs::read_to_string(fleet.data().join(format!("{service}-0.log")))?;
    ensure!(log.contains(REFUSED), "{service} of the earlier version does not come again\n{}", fleet.log());
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs of an earlier version: tests/upgrade makes them"]
async fn an_earlier_version_hands_over_to_this_one_under_load() -> Result<()> {
    let (old, servers) = (given("SOUK_TEST_EARLIER")?, Servers::given()?);
    let folder = tempfile::tempdir()?;
    // The provider takes its time, so that whoever goes has orders in hand.
    let env = [LIMIT, ("SOUK_PAYMENT_SANDBOX_LATENCY_MS", "20")];
    let mut fleet = Processes::start_from(&old, folder.path(), servers.stores().await?, &env).await?;
    let admin = fleet.client("admin").await?;
    Load::goods(&admin).await?;
    let load = Load::start(&admin, 8, Duration::from_millis(5));
    tokio::time::sleep(Duration::from_secs(3)).await;

    // The new ones bring the schemas up to date while the old ones work on them.
    for service in SERVICES {
        fleet.run(service, 1)?;
        fleet.ready(service, 1).await?;
    }
    // Connections through the gateway stay where they are, so the new one is called directly too.
    let direct = admin.at(&fleet.replica_url("order", 1));
    let of_new = Load::named("new", &direct, 4, Duration::from_millis(5));
    tokio::time::sleep(TOGETHER).await;
    let mut asked = Vec::new();
    for n in [0, 1] {
        asked.push(fleet.metric("order", n, "http_requests_total").await);
    }
    ensure!(asked.iter().all(|asked| *asked > 10.0), "the versions do not share the work: {asked:?}\n{}", fleet.log());

    let (mut again, mut refused) = (Vec::new(), Vec::new());
    for service in WITH_SCHEMA {
        if comes_again(&mut fleet, &old, service).await? { &mut again } else { &mut refused }.push(service);
    }
    tell(&format!(
        "upgrade: of the earlier version started again on the new schema: ready {again:?}, refused by it {refused:?}"
    ));

    for service in SERVICES {
        if service == "order" || refused.contains(&service) {
            // One of orders goes without a word; what it had in hand is for its successor. Who refused has ended already.
            fleet.kill(service, 0).await?;
        } else {
            fleet.end(service, 0).await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut heard, new) = (load.stop().await?, of_new.stop().await?);
    heard.answers.extend(new.answers);
    heard.repeats += new.repeats;
    terminal(&admin, Duration::from_secs(60)).await?;
    let counts = one_order_a_key(&admin, &heard.answers).await?;
    let takeovers = fleet.metric("order", 1, "saga_takeovers_total").await;
    tell(&format!(
        "upgrade: {} orders, {} confirmed, {} cancelled, {takeovers} taken over from the earlier version; {} requests sent again",
        heard.answers.len(),
        counts["CONFIRMED"],
        counts["CANCELLED"],
        heard.repeats,
    ));
    ensure!(takeovers > 0.0, "nothing was taken over: the test shows nothing");
    settled(&mut fleet, folder.path()).await
}
