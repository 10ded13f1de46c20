//! `souk audit`: a proof that stock, orders, money and events agree.
//!
//! It opens the stores by their URLs, running or not, asks each service's crate for plain facts, and joins
//! them; it knows no schema. What is under way is counted as such: on a running fleet what is younger than
//! a lease, on a stopped one what the next start resumes.

mod checks;
mod events;
mod explain;
mod facts;
mod goods;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use crate::out::say;

/// What `souk audit` takes.
#[derive(Debug, Args)]
pub struct Command {
    /// Data folder of the fleet.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: PathBuf,
    /// URL of a store outside the data folder: customer, product, order, stock, payment, notification or bus.
    #[arg(long = "store", value_name = "NAME=URL")]
    stores: Vec<String>,
    /// Print what all stores know of this order, in the order of time, instead of auditing.
    #[arg(long, value_name = "ORDER")]
    explain: Option<String>,
    /// Audit a running fleet again and again, tell what changes, and serve metrics.
    #[arg(long, conflicts_with_all = ["explain", "json"])]
    watch: bool,
    /// Seconds from the start of one audit to that of the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Where the metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9465", requires = "watch")]
    metrics: SocketAddr,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// One promise and whether it holds.
#[derive(Debug, Serialize)]
pub struct Check {
    /// The promise.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// Number of things checked.
    pub count: usize,
    /// How many of them are under way, so that they cannot be checked yet.
    pub pending: usize,
    /// What breaks it.
    pub violations: Vec<String>,
    /// Why it was not made, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'static str>,
}

impl Check {
    fn new(name: &'static str) -> Self {
        Self { name, ok: true, count: 0, pending: 0, violations: Vec::new(), left_out: None }
    }

    /// Counts one thing; `wrong` says what is wrong with it.
    fn saw(&mut self, wrong: Option<String>) {
        self.count += 1;
        self.fail(wrong);
    }

    /// A check that cannot be made.
    fn left_out(self, why: &'static str) -> Self {
        Self { left_out: Some(why), ..self }
    }

    fn fail(&mut self, wrong: Option<String>) {
        if let Some(wrong) = wrong {
            self.ok = false;
            self.violations.push(wrong);
        }
    }
}

/// Audits the stores of a data folder on which nothing runs.
pub async fn audit(data: &Path) -> anyhow::Result<Vec<Check>> {
    checks(&facts::StoreUrls::read(data, &[])?, false).await
}

/// Audits; false when a promise is broken.
pub async fn run(command: Command) -> anyhow::Result<bool> {
    let urls = facts::StoreUrls::read(&command.data, &command.stores)?;
    if let Some(order) = &command.explain {
        explain::explain(&urls, order, command.json).await?;
        return Ok(true);
    }
    if command.watch {
        watch::Watch { urls, every: Duration::from_secs(command.every), listen: command.metrics }.run().await?;
        return Ok(true);
    }
    // Stores that the command line or the environment names may be in use by a running fleet.
    let elsewhere = !command.stores.is_empty() || chassis::config::var("SOUK_ORDER_DATABASE_URL").is_some();
    let checks = checks(&urls, elsewhere || crate::data::is_running(&command.data)).await?;
    let ok = checks.iter().all(|check| check.ok);
    print(&checks, ok, command.json)?;
    Ok(ok)
}

/// All checks of these stores; `running` says whether a fleet may be changing them.
async fn checks(urls: &facts::StoreUrls, running: bool) -> anyhow::Result<Vec<Check>> {
    let facts = facts::Facts::read(urls, running).await?;
    Ok(checks::all(&facts).into_iter().chain(events::all(&facts)).collect())
}

/// Most violations of one check that are printed for people; JSON has all.
const SHOWN: usize = 20;

fn print(checks: &[Check], ok: bool, json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(&serde_json::json!({"ok": ok, "checks": checks}))?);
        return Ok(());
    }
    for check in checks {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        let pending = if check.pending > 0 { format!(", {} under way", check.pending) } else { String::new() };
        match check.left_out {
            Some(why) => say!("----            {}: left out, {why}", check.name),
            None => say!("{mark} {:>8}  {}{pending}", check.count, check.name),
        }
        for violation in check.violations.iter().take(SHOWN) {
            say!("               {violation}");
        }
        if check.violations.len() > SHOWN {
            say!("               and {} more; --json lists all", check.violations.len() - SHOWN);
        }
    }
    say!("{}", if ok { "clean" } else { "NOT CLEAN" });
    Ok(())
}
