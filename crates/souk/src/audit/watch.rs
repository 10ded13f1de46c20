//! `souk audit --watch`: audits a fleet again and again while it runs, and serves what it finds as metrics.
//!
//! It reads as every audit does: snapshots, which hold up no writer. The stores are not read at one moment, so a violation counts only
//! if the next audit, after anything under way has had its time, finds the same one.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::Context as _;
use axum::Router;
use chassis::{App, Context, CrashPoints, Listeners, always_ready};
use commerce::Timestamp;
use prometheus::{Histogram, IntCounterVec, IntGauge, IntGaugeVec};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Check, checks,
    facts::{LEASE, StoreUrls},
};
use crate::out::say;

/// How a fleet is watched.
pub(super) struct Watch {
    pub(super) urls: StoreUrls,
    /// From the start of one audit to that of the next.
    pub(super) every: Duration,
    /// Where `/metrics` is served.
    pub(super) listen: SocketAddr,
}

struct Metrics {
    violations: IntGaugeVec,
    checked: IntGaugeVec,
    pending: IntGaugeVec,
    runs: IntCounterVec,
    seconds: Histogram,
    last: IntGauge,
}

impl Metrics {
    fn new(metrics: &chassis::Metrics) -> Self {
        let by_check = |name, help| metrics.gauge(name, help, &["check"]);
        Self {
            violations: by_check("audit_violations", "Violations that two audits in a row have found."),
            checked: by_check("audit_checked", "Things that the last audit has checked."),
            pending: by_check("audit_pending", "Things under way, which the last audit could not check."),
            runs: metrics.counter("audit_runs_total", "Audits by outcome: clean, broken, failed.", &["outcome"]),
            seconds: metrics
                .histogram("audit_duration_seconds", "Time of an audit.", &[])
                .with_label_values::<&str>(&[]),
            last: metrics
                .gauge("audit_last_success_timestamp_seconds", "When an audit last read all stores.", &[])
                .with_label_values::<&str>(&[]),
        }
    }

    fn show(&self, checks: &[Check]) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for check in checks {
            self.violations.with_label_values(&[check.name]).set(count(check.violations.len()));
            self.checked.with_label_values(&[check.name]).set(count(check.count));
            self.pending.with_label_values(&[check.name]).set(count(check.pending));
        }
        self.last.set(Timestamp::now().micros() / 1_000_000);
    }
}

impl Watch {
    /// Audits until the process is told to stop.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = CancellationToken::new();
        let ctx = Context::new("audit", Context::new_instance(), stop.clone(), CrashPoints::none());
        let metrics = Metrics::new(&ctx.metrics);
        let http = TcpListener::bind(self.listen).await.with_context(|| format!("--metrics {}", self.listen))?;
        say!("auditing every {} s; metrics at http://{}/metrics", self.every.as_secs(), http.local_addr()?);
        let app = App { http: Router::new(), grpc: None, ready: always_ready(), callers: chassis::Callers::Services };
        let served = chassis::serve(app, &ctx, Listeners { http, grpc: None });
        let outcome = tokio::select! {
            outcome = served => outcome.map_err(Into::into),
            outcome = self.audits(&metrics) => outcome,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        stop.cancel();
        outcome
    }

    async fn audits(&self, metrics: &Metrics) -> anyhow::Result<()> {
        let mut told = String::new();
        loop {
            let begun = Instant::now();
            let state = match self.confirmed(metrics).await {
                Ok(checks) => {
                    metrics.show(&checks);
                    let broken: Vec<&Check> = checks.iter().filter(|check| !check.ok).collect();
                    metrics.runs.with_label_values(&[if broken.is_empty() { "clean" } else { "broken" }]).inc();
                    report(&broken)
                }
                Err(error) => {
                    metrics.runs.with_label_values(&["failed"]).inc();
                    format!("cannot read the stores, tries again: {error:#}")
                }
            };
            // A state that lasts is told once.
            if state != told {
                say!("{} {state}", Timestamp::now());
                told = state;
            }
            // Where an audit takes long the fleet has at least as long without one.
            tokio::time::sleep_until((begun + self.every).max(Instant::now() + begun.elapsed())).await;
        }
    }

    /// The checks of an audit, with the violations that a second one has found too.
    async fn confirmed(&self, metrics: &Metrics) -> anyhow::Result<Vec<Check>> {
        let once = async || {
            let _timer = metrics.seconds.start_timer();
            checks(&self.urls, true).await
        };
        let first = once().await?;
        if first.iter().all(|check| check.ok) {
            return Ok(first);
        }
        tokio::time::sleep(LEASE).await;
        let before: BTreeMap<&str, HashSet<&str>> = first
            .iter()
            .map(|check| (check.name, check.violations.iter().map(|violation| subject(violation)).collect()))
            .collect();
        let mut second = once().await?;
        for check in &mut second {
            check.violations.retain(|found| before.get(check.name).is_some_and(|seen| seen.contains(subject(found))));
            check.ok = check.violations.is_empty();
        }
        Ok(second)
    }
}

/// What a violation is about, which stands before the first colon: the rest may hold numbers that change while the fleet works.
fn subject(violation: &str) -> &str {
    violation.split_once(": ").map_or(violation, |(subject, _)| subject)
}

/// What is told of an audit: that it was clean, or each violation.
fn report(broken: &[&Check]) -> String {
    if broken.is_empty() {
        return "clean".to_owned();
    }
    let lines = broken.iter().flat_map(|check| {
        let shown = check.violations.iter().take(super::SHOWN);
        shown.map(|violation| format!("\n  FAIL {}: {violation}", check.name))
    });
    let all: usize = broken.iter().map(|check| check.violations.len()).sum();
    format!("NOT CLEAN: {all} violations{}", lines.collect::<String>())
}
