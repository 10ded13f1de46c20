//! Running periodic jobs.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Result;
use chassis::Context;
use commerce::Timestamp;
use futures::future::BoxFuture;
use prometheus::IntGaugeVec;

use crate::Leases;

/// Most rows that a job touches at once, so that nobody waits long for it.
pub const BATCH: u64 = 500;
/// How often jobs are done.
const EVERY: Duration = Duration::from_secs(60);
/// How long one replica keeps them; long enough that the same one does them next time.
const LEASE: Duration = Duration::from_secs(150);
/// What a job leaves to others between two batches.
const PAUSE: Duration = Duration::from_millis(20);

type Run = dyn Fn() -> BoxFuture<'static, Result<u64>> + Send + Sync;

/// A piece of work that comes again and again.
#[derive(Clone)]
pub struct Job {
    name: &'static str,
    run: Arc<Run>,
}

impl Job {
    /// A job that does a batch and tells how much it did; while that is [`BATCH`] it is asked again.
    pub fn new<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<u64>> + Send + 'static,
    {
        Self { name, run: Arc::new(move || Box::pin(run())) }
    }
}

/// Tells when a periodic job last succeeded in this replica (`job_last_success_timestamp_seconds`).
#[derive(Clone, Debug)]
pub struct LastSuccess(IntGaugeVec, &'static str);

impl LastSuccess {
    /// Of this job.
    pub fn of(ctx: &Context, job: &'static str) -> Self {
        let name = "job_last_success_timestamp_seconds";
        Self(ctx.metrics.gauge(name, "When a periodic job last succeeded.", &["job"]), job)
    }

    /// It has just succeeded. Before it has, nothing is shown.
    pub fn now(&self) {
        self.0.with_label_values(&[self.1]).set(Timestamp::now().micros() / 1_000_000);
    }
}

/// Does the jobs every minute, in one replica at a time, until the process stops. Each tells when it last
/// succeeded (`job_last_success_timestamp_seconds`), how much it did and how often it failed.
pub fn start(ctx: &Context, leases: Arc<dyn Leases>, jobs: Vec<Job>) {
    let rows = ctx.metrics.counter("job_rows_total", "What a periodic job has done.", &["job"]);
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
            match leases.take("upkeep", &ctx.instance, Timestamp::now(), Timestamp::now().plus(LEASE)).await {
                Ok(true) => {
                    for job in &jobs {
                        match all(&ctx, job).await {
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
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        // Should it fail, the next one waits for it to run out.
        let _ = leases.release("upkeep", &ctx.instance).await;
    };
    task.spawn("upkeep", work);
}

/// Does the usual jobs of a store in SQL: forgetting what it names, and leases that ran out long ago.
pub fn prune(ctx: &Context, db: &db::Db, prunes: Vec<crate::Prune>) {
    // A replica that died leaves the lease by which it told that it was there.
    let leases = crate::Prune { table: "leases", key: "name", old: "until < $1", keep: crate::days(1) };
    let jobs = prunes.into_iter().chain([leases]).map(|prune| prune.job(db.clone())).collect();
    start(ctx, Arc::new(crate::SqlLeases(db.clone())), jobs);
}

async fn all(ctx: &Context, job: &Job) -> Result<u64> {
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
