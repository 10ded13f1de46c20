//! `souk` as a command, and its audit as the last word on a run.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    Fleet, PATIENCE, Stores, eventually,
    fleet::{clean, command},
    on_servers,
};

/// What an audit found.
#[derive(Debug)]
pub struct Audit {
    /// The whole of it.
    pub report: Value,
}

impl Audit {
    /// Whether every promise holds.
    pub fn is_clean(&self) -> bool {
        self.report["ok"] == true
    }

    /// How many things are under way.
    pub fn pending(&self) -> u64 {
        self.checks().filter_map(|check| check["pending"].as_u64()).sum()
    }

    /// How many things the check whose name begins so looked at.
    pub fn count(&self, name: &str) -> u64 {
        let check = self.checks().find(|check| check["name"].as_str().is_some_and(|told| told.starts_with(name)));
        check.and_then(|check| check["count"].as_u64()).unwrap_or_default()
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().into_iter().flatten()
    }
}

/// Runs a command of the binary: whether it succeeded, and the JSON on its stdout.
pub async fn souk<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<(bool, Value)> {
    told(command()?, args).await
}

/// The same with another binary.
pub(crate) async fn souk_at<S: AsRef<OsStr>>(
    binary: &Path,
    args: impl IntoIterator<Item = S>,
) -> Result<(bool, Value)> {
    let mut command = Command::new(binary);
    clean(&mut command);
    told(command, args).await
}

async fn told<S: AsRef<OsStr>>(mut command: Command, args: impl IntoIterator<Item = S>) -> Result<(bool, Value)> {
    let done = command.args(args).output().await?;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let answer = serde_json::from_str(&out).with_context(|| format!("{}: {out}\n{err}", done.status))?;
    Ok((done.status.success(), answer))
}

/// Runs a command of the binary that must succeed: the text on its stdout.
pub async fn souk_text<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<String> {
    let done = command()?.args(args).output().await?;
    ensure!(done.status.success(), "{}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

/// Audits a data folder, running or not.
pub async fn audit(data: &Path) -> Result<Audit> {
    let (succeeded, report) =
        souk([OsStr::new("audit"), OsStr::new("--json"), OsStr::new("--data"), data.as_os_str()]).await?;
    ensure!(report["checks"].as_array().is_some_and(|checks| checks.len() >= 8), "an audit of little: {report}");
    ensure!(succeeded == (report["ok"] == true), "the exit status says {succeeded}: {report}");
    Ok(Audit { report })
}

/// Waits until every order is terminal and every event has had its effect, stops the fleet, and audits: it
/// must be clean, with nothing under way. A stopped fleet's audit makes no allowance for what is young.
pub async fn drained(mut fleet: Fleet) -> Result<Audit> {
    let begun = Instant::now();
    loop {
        let admin = fleet.client("admin");
        eventually("every order is terminal", || async {
            let orders = admin.get("/api/orders?status=pending").await?.expect(200)?;
            Ok(orders["data"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .await?;
        eventually("nothing is reserved any more", || async {
            let levels = admin.all("/api/stock/levels").await?;
            Ok(levels.iter().all(|level| level["reserved"] == 0).then_some(()))
        })
        .await?;
        let data = fleet.data().to_owned();
        if on_servers() {
            // After a kill the dead ones' leases and group memberships have to run out first.
            let patience = Instant::now();
            while audit(&data).await?.pending() > 0 && patience.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        let env: Vec<(String, String)> =
            fleet.env().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        fleet.terminate().await?;
        let found = audit(&data).await?;
        ensure!(found.is_clean(), "the audit is not clean: {:#}", found.report);
        if found.pending() == 0 {
            return Ok(found);
        }
        ensure!(begun.elapsed() < 2 * PATIENCE, "still under way after {:?}: {:#}", begun.elapsed(), found.report);
        // The stop was quicker than the last event; the next start goes on with it.
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fleet = Fleet::start_with(&data, &env).await?;
    }
}

/// What stands on a topic of a folder's embedded bus, the oldest first; running or not.
pub async fn topic(data: &Path, topic: &str) -> Result<Vec<String>> {
    let kept = bus::Bus::read_all(&format!("embedded:{}", data.join("bus.db").display())).await?;
    let messages = kept.messages.into_iter().filter(|message| message.topic == topic);
    Ok(messages.map(|message| message.payload).collect())
}

/// Puts a message on a topic of the bus of a folder's fleet, as a program outside of it does.
pub async fn publish(data: &Path, topic: &str, key: &str, payload: &str) -> Result<()> {
    let stop = tokio_util::sync::CancellationToken::new();
    let ctx = chassis::Context::new("outside", "outside", stop.clone(), chassis::CrashPoints::none());
    let url = Stores::of(data)?.url(data, "bus");
    let bus = bus::Bus::open(&url, &ctx).await?;
    let message = bus::Message { topic: topic.into(), key: key.into(), payload: payload.into() };
    // A client that has just begun may be told that the broker is silent.
    let told =
        eventually("the broker takes the message", || async { Ok(bus.publish(vec![message.clone()]).await.ok()) })
            .await;
    stop.cancel();
    told
}
