//! Periodic jobs.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Result;
use chassis::Context;
use commerce::Timestamp;
use futures::future::BoxFuture;
use prometheus::IntGaugeVec;

use crate::Leases;

/// Maximum number of rows that a job changes in one transaction, so that its locks are short.
pub const BATCH: u64 = 500;
/// How often jobs run.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long a lease on the jobs lasts; longer than the interval, so that the same replica runs them the next time.
const LEASE_DURATION: Duration = Duration::from_secs(150);
/// Pause between two batches, for other transactions.
const PAUSE: Duration = Duration::from_millis(20);

type Run = dyn Fn() -> BoxFuture<'static, Result<u64>> + Send + Sync;

/// A periodic job.
#[derive(Clone)]
pub struct Job {
    name: &'static str,
    run: Arc<Run>,
}

impl Job {
    /// A job that processes a batch and returns its size; it is called again at once while that is [`BATCH`].
    pub fn new<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<u64>> + Send + 'static,
    {
        Self { name, run: Arc::new(move || Box::pin(run())) }
    }
}

/// The metric of when a periodic job last succeeded in this replica (`job_last_success_timestamp_seconds`).
#[derive(Clone, Debug)]
pub struct LastSuccess(IntGaugeVec, &'static str);

impl LastSuccess {
    /// The metric of this job.
    pub fn of(ctx: &Context, job: &'static str) -> Self {
        let name = "job_last_success_timestamp_seconds";
        Self(ctx.metrics.gauge(name, "When a periodic job last succeeded.", &["job"]), job)
    }

    /// Records a success. Before the first one the metric is not exported.
    pub fn now(&self) {
        self.0.with_label_values(&[self.1]).set(Timestamp::now().micros() / 1_000_000);
    }
}

/// Runs the jobs every minute, in one replica at a time, until the process stops. Metrics report when each last succeeded
/// (`job_last_success_timestamp_seconds`), how many rows it processed and how often it failed.
pub fn start(ctx: &Context, leases: Arc<dyn Leases>, jobs: Vec<Job>) {
    let rows = ctx.metrics.counter("job_rows_total", "Rows that a periodic job has processed.", &["job"]);
    let failures = ctx.metrics.counter("job_failures_total", "How often a periodic job failed.", &["job"]);
    for job in &jobs {
        rows.with_label_values(&[job.name]).reset();
        failures.with_label_values(&[job.name]).reset();
    }
    let ctx = ctx.clone();
    let task = ctx.clone();
    let work = async move {
        let mut failing = false;
        loop {
            let taken = async {
                let now = leases.now().await?;
                leases.take("upkeep", &ctx.instance, now, now.plus(LEASE_DURATION)).await
            };
            match taken.await {
                Ok(true) => {
                    for job in &jobs {
                        match run_batches(&ctx, job).await {
                            Ok(count) => {
                                rows.with_label_values(&[job.name]).inc_by(count);
                                LastSuccess::of(&ctx, job.name).now();
                                failing = false;
                            }
                            Err(error) => {
                                failures.with_label_values(&[job.name]).inc();
                                if !failing {
                                    tracing::warn!(
                                        job = job.name,
                                        error = format!("{error:#}"),
                                        "a periodic job failed"
                                    );
                                }
                                failing = true;
                            }
                        }
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(error = format!("{error:#}"), "periodic jobs wait for the store"),
            }
            tokio::select! {
                () = ctx.shutdown.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        // If this fails, the next replica waits until the lease expires.
        let _ = leases.release("upkeep", &ctx.instance).await;
    };
    task.spawn("upkeep", work);
}

/// Starts the usual jobs of an SQL store: these prunes, and that of leases that expired long ago.
pub fn prune(ctx: &Context, db: &db::Db, prunes: Vec<crate::Prune>) {
    // A replica that died leaves its presence lease.
    let leases = crate::Prune { table: "leases", key: "name", old: "until < $1", keep: crate::days(1) };
    let jobs = prunes.into_iter().chain([leases]).map(|prune| prune.job(db.clone())).collect();
    start(ctx, Arc::new(crate::SqlLeases(db.clone())), jobs);
}

async fn run_batches(ctx: &Context, job: &Job) -> Result<u64> {
    let mut total = 0;
    loop {
        let count = (job.run)().await?;
        total += count;
        if count < BATCH || ctx.shutdown.is_cancelled() {
            return Ok(total);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
