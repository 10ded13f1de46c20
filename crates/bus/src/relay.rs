//! Carries a service's outbox to the broker.

use std::{sync::Arc, time::Duration};

use chassis::Context;
use commerce::Timestamp;
use db::Db;
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::{sync::Notify, time::Instant};

use crate::{Bus, Error, Outgoing, outbox};

/// Most messages published at once.
const BATCH: i64 = 500;
/// How often it looks without being woken: what another process wrote, or a wake-up lost in a crash.
const SWEEP: Duration = Duration::from_secs(1);
/// Shortest time from one sweep to the next: the first event after a rest goes out at once, under load
/// many share a sweep.
const PACE: Duration = Duration::from_millis(20);
/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// Longest wait between tries while the broker is away.
const SLOWEST: Duration = Duration::from_secs(5);

/// Wakes the task that publishes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay(Arc<Notify>);

impl Relay {
    /// Starts publishing what the outbox of `db` holds, oldest first, until the process stops.
    pub fn start(ctx: &Context, db: Db, bus: Bus) -> Self {
        let wake = Arc::new(Notify::new());
        let worker = Worker {
            ctx: ctx.clone(),
            db,
            bus,
            wake: Arc::clone(&wake),
            depth: ctx.metrics.gauge("outbox_depth", "Messages that wait for the broker.", &[]),
            age: ctx.metrics.gauge("outbox_age_seconds", "Age of the oldest message that waits.", &[]),
            published: ctx.metrics.counter("outbox_published_total", "Messages given to the broker.", &["topic"]),
        };
        ctx.spawn("relay", worker.run());
        Self(wake)
    }

    /// Tells the relay that something was committed.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

struct Worker {
    ctx: Context,
    db: Db,
    bus: Bus,
    wake: Arc<Notify>,
    depth: IntGaugeVec,
    age: IntGaugeVec,
    published: IntCounterVec,
}

impl Worker {
    async fn run(self) {
        let mut wait = SWEEP;
        let mut failing = false;
        let mut measured: Option<Instant> = None;
        loop {
            let begun = Instant::now();
            match self.sweep().await {
                Ok(()) => {
                    if failing {
                        tracing::info!("the bus is back; the outbox is being published again");
                    }
                    failing = false;
                    wait = SWEEP;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot publish; events wait in the outbox"
                        );
                    }
                    failing = true;
                    wait = (wait * 2).min(SLOWEST);
                }
            }
            if measured.is_none_or(|at| at.elapsed() >= MEASURE) {
                // A gauge that is not set this time is set the next.
                let _ = self.measure().await;
                measured = Some(Instant::now());
            }
            tokio::time::sleep_until(begun + PACE).await;
            tokio::select! {
                () = self.ctx.shutdown.cancelled() => break,
                () = self.wake.notified(), if !failing => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What was committed while the service drained goes out too, if the bus is there.
        let _ = self.sweep().await;
    }

    async fn sweep(&self) -> Result<(), Error> {
        loop {
            let mut tx = self.db.read().await?;
            let waiting = outbox::unpublished(&mut tx, BATCH).await?;
            drop(tx);
            if waiting.is_empty() {
                return Ok(());
            }
            let ids: Vec<i64> = waiting.iter().map(|row| row.id).collect();
            self.ctx.crash.reach("relay.publish.before");
            let messages: Vec<Outgoing> = waiting.into_iter().map(|row| row.message).collect();
            for message in &messages {
                self.published.with_label_values(&[&message.topic]).inc();
            }
            self.bus.publish(messages).await?;
            self.ctx.crash.reach("relay.publish.after");
            let mut tx = self.db.write().await?;
            outbox::mark_published(&mut tx, &ids).await?;
            tx.commit().await?;
            self.ctx.crash.reach("relay.mark.after");
            if ids.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    async fn measure(&self) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        let (depth, oldest) = outbox::backlog(&mut tx).await?;
        let age = oldest.map_or(0, |oldest| Timestamp::now().since(oldest).as_secs());
        self.depth.with_label_values::<&str>(&[]).set(depth);
        self.age.with_label_values::<&str>(&[]).set(i64::try_from(age).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// Crash points of every relay.
pub const CRASH_POINTS: &[&str] = &["relay.publish.before", "relay.publish.after", "relay.mark.after"];
