//! Runs `souk` as a command, and audits a fleet with it.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    Fleet, Stores, TIMEOUT, eventually,
    fleet::{clear_env, souk_command},
    on_servers,
};

/// The result of an audit.
#[derive(Debug)]
pub struct Audit {
    /// The JSON report of `souk audit`.
    pub report: Value,
}

impl Audit {
    /// Whether every check passed.
    pub fn is_clean(&self) -> bool {
        self.report["ok"] == true
    }

    /// The number of items that are still in progress.
    pub fn pending(&self) -> u64 {
        self.checks().filter_map(|check| check["pending"].as_u64()).sum()
    }

    /// The number of items checked by the check whose name starts with `name`.
    pub fn count(&self, name: &str) -> u64 {
        let check = self.checks().find(|check| check["name"].as_str().is_some_and(|full| full.starts_with(name)));
        check.and_then(|check| check["count"].as_u64()).unwrap_or_default()
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().into_iter().flatten()
    }
}

/// A `souk` command that is killed when it is dropped.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Command> {
    let mut command = souk_command()?;
    command.args(args);
    Ok(command)
}

/// Runs a `souk` command: returns whether it succeeded, and the JSON from its stdout.
pub async fn souk<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<(bool, Value)> {
    run_json(souk_command()?, args).await
}

/// Runs a command of another `souk` binary, like [`souk`].
pub(crate) async fn souk_at<S: AsRef<OsStr>>(
    binary: &Path,
    args: impl IntoIterator<Item = S>,
) -> Result<(bool, Value)> {
    let mut command = Command::new(binary);
    clear_env(&mut command);
    run_json(command, args).await
}

async fn run_json<S: AsRef<OsStr>>(mut command: Command, args: impl IntoIterator<Item = S>) -> Result<(bool, Value)> {
    let output = command.args(args).output().await?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let json = serde_json::from_str(&out).with_context(|| format!("{}: {out}\n{err}", output.status))?;
    Ok((output.status.success(), json))
}

/// Runs a `souk` command that must succeed: returns the text from its stdout.
pub async fn souk_text<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<String> {
    let output = souk_command()?.args(args).output().await?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Audits a data folder. A fleet may be running on it.
pub async fn audit(data: &Path) -> Result<Audit> {
    let (succeeded, report) =
        souk([OsStr::new("audit"), OsStr::new("--json"), OsStr::new("--data"), data.as_os_str()]).await?;
    ensure!(
        report["checks"].as_array().is_some_and(|checks| checks.len() >= 8),
        "the audit ran too few checks: {report}"
    );
    ensure!(succeeded == (report["ok"] == true), "the exit status says {succeeded}: {report}");
    Ok(Audit { report })
}

/// Waits until every order is terminal and every event is processed, stops the fleet, and audits it. The audit must be clean,
/// with nothing in progress. The audit of a stopped fleet does not tolerate recent unfinished items.
pub async fn drain_and_audit(mut fleet: Fleet) -> Result<Audit> {
    let started = Instant::now();
    loop {
        let admin = fleet.client("admin");
        eventually("every order is terminal", || async {
            let orders = admin.get("/api/orders?status=pending").await?.expect(200)?;
            Ok(orders["data"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .await?;
        eventually("no stock is reserved any more", || async {
            let levels = admin.all("/api/stock/levels").await?;
            Ok(levels.iter().all(|level| level["reserved"] == 0).then_some(()))
        })
        .await?;
        let data = fleet.data().to_owned();
        if on_servers() {
            // After a kill, the leases and group memberships of the killed processes must expire first.
            let waiting_since = Instant::now();
            while audit(&data).await?.pending() > 0 && waiting_since.elapsed() < TIMEOUT {
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
        ensure!(started.elapsed() < 2 * TIMEOUT, "still in progress after {:?}: {:#}", started.elapsed(), found.report);
        // The fleet stopped before the last event was processed; the next start resumes it.
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fleet = Fleet::start_with(&data, &env).await?;
    }
}

/// Reads the messages on a topic of a folder's embedded bus, oldest first. A fleet may be running on the folder.
pub async fn read_topic(data: &Path, topic: &str) -> Result<Vec<String>> {
    let log = bus::Bus::read_all(&format!("embedded:{}", data.join("bus.db").display())).await?;
    let messages = log.messages.into_iter().filter(|message| message.topic == topic);
    Ok(messages.map(|message| message.payload).collect())
}

/// Publishes a message on a topic of the bus of a folder's fleet, like an external program.
pub async fn publish(data: &Path, topic: &str, key: &str, payload: &str) -> Result<()> {
    let stop = tokio_util::sync::CancellationToken::new();
    let ctx = chassis::Context::new("outside", "outside", stop.clone(), chassis::CrashPoints::none());
    let url = Stores::load(data)?.url(data, "bus");
    let bus = bus::Bus::open(&url, &ctx).await?;
    let message = bus::Message { topic: topic.into(), key: key.into(), payload: payload.into() };
    // A client that has just connected may get an error that the broker does not respond.
    let published =
        eventually("the broker accepts the message", || async { Ok(bus.publish(vec![message.clone()]).await.ok()) })
            .await;
    stop.cancel();
    published
}
