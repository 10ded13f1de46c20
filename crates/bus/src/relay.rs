//! Carries a service's outbox to the broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chassis::Context;
use commerce::Timestamp;
use prometheus::IntCounterVec;
use tokio::{sync::Notify, time::Instant};
use upkeep::ShardLease;

use crate::{
    Bus, Message,
    outbox::{Outbox, SHARDS},
};

/// Most messages published at once.
const BATCH: i64 = 500;
/// Longest wait before a broker that did not take messages is tried again.
const SLOWEST: Duration = Duration::from_secs(5);
/// How often it looks without being woken: what another process wrote, or a wake-up lost in a crash.
const SWEEP: Duration = Duration::from_secs(1);
/// Shortest time from one sweep to the next: the first event after a rest goes out at once, under load
/// many share a sweep.
const PACE: Duration = Duration::from_millis(20);
/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(1);

/// Wakes the task that publishes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay {
    wake: Arc<Notify>,
    /// Age of the oldest message that waits, in seconds.
    age: Arc<AtomicI64>,
}

impl Relay {
    /// Starts publishing what the outbox holds, oldest first, until the process stops. Several replicas share the
    /// work by shards of aggregates, one relay at a time for each; while one takes over from another that was
    /// only paused, a message may be published twice, which consumers notice by its sequence.
    pub fn start(ctx: &Context, outbox: Arc<dyn Outbox>, bus: Bus) -> Self {
        let wake = Arc::new(Notify::new());
        let age = Arc::new(AtomicI64::new(0));
        let worker = Worker {
            ctx: ctx.clone(),
            share: ShardLease::new("relay", SHARDS, &ctx.instance),
            outbox,
            bus,
            wake: Arc::clone(&wake),
            published: ctx.metrics.counter("outbox_published_total", "Messages given to the broker.", &["topic"]),
        };
        ctx.spawn("backlog", measure(ctx.clone(), Arc::clone(&worker.outbox), Arc::clone(&age)));
        ctx.spawn("relay", worker.run());
        Self { wake, age }
    }

    /// For how long the oldest message has waited for the broker, in seconds; looked at once a second.
    pub fn unpublished_seconds(&self) -> i64 {
        self.age.load(Ordering::Relaxed)
    }

    /// Tells the relay that something was committed.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

struct Worker {
    ctx: Context,
    outbox: Arc<dyn Outbox>,
    share: ShardLease,
    bus: Bus,
    wake: Arc<Notify>,
    published: IntCounterVec,
}

impl Worker {
    async fn run(mut self) {
        let mut pauses = chassis::backoff::pauses(SLOWEST);
        let mut wait;
        let mut failing = false;
        loop {
            let begun = Instant::now();
            match self.sweep().await {
                Ok(()) => {
                    if failing {
                        tracing::info!("the outbox is being published again");
                    }
                    failing = false;
                    wait = SWEEP;
                    pauses = chassis::backoff::pauses(SLOWEST);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = format!("{error:#}"), "cannot publish; events wait in the outbox");
                    }
                    failing = true;
                    wait = pauses.next().unwrap_or(SWEEP);
                }
            }
            tokio::time::sleep_until(begun + PACE).await;
            let woken = tokio::select! {
                () = self.ctx.shutdown.cancelled() => break,
                () = self.wake.notified(), if !failing => true,
                () = self.outbox.listen(), if !failing => false,
                () = tokio::time::sleep(wait) => false,
            };
            if woken && !self.share.has_all() {
                // Somebody else publishes part of what was written here. If he does not hear it, he looks soon.
                let _ = self.outbox.notify().await;
            }
        }
        // What was committed while the service drained goes out too, if the bus is there.
        let _ = self.sweep().await;
        let _ = self.share.release(&*self.outbox.leases()).await;
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        loop {
            let mine = self.share.mine(&*self.outbox.leases()).await?;
            if mine.is_empty() {
                return Ok(());
            }
            let waiting = self.outbox.waiting(mine, BATCH).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let (ids, messages): (Vec<String>, Vec<Message>) =
                waiting.into_iter().map(|waiting| (waiting.id, waiting.message)).unzip();
            self.ctx.crash.reach("relay.publish.before");
            let topics: Vec<String> = messages.iter().map(|message| message.topic.clone()).collect();
            self.bus.publish(messages).await?;
            for topic in topics {
                self.published.with_label_values(&[&topic]).inc();
            }
            self.ctx.crash.reach("relay.publish.after");
            self.outbox.mark(&ids).await?;
            self.ctx.crash.reach("relay.mark.after");
            if ids.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}

/// Tells how much waits, also while the broker keeps the relay waiting.
async fn measure(ctx: Context, outbox: Arc<dyn Outbox>, oldest_seconds: Arc<AtomicI64>) {
    let depth = ctx.metrics.gauge("outbox_depth", "Messages that wait for the broker.", &[]);
    let age = ctx.metrics.gauge("outbox_age_seconds", "Age of the oldest message that waits.", &[]);
    loop {
        // A gauge that is not set this time is set the next.
        if let Ok((waiting, oldest)) = outbox.backlog().await {
            let seconds = oldest.map_or(0, |oldest| Timestamp::now().since(oldest).as_secs());
            depth.with_label_values::<&str>(&[]).set(waiting);
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            oldest_seconds.store(seconds, Ordering::Relaxed);
            age.with_label_values::<&str>(&[]).set(seconds);
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(MEASURE) => {}
        }
    }
}

/// Crash points of every relay.
pub const CRASH_POINTS: &[&str] = &["relay.publish.before", "relay.publish.after", "relay.mark.after"];
