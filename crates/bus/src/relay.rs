//! Publishes the messages of a service's outbox.

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

/// Maximum number of messages published at once.
const BATCH: i64 = 500;
/// Longest pause after a failure to publish.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the outbox is polled without a wake-up, for messages of other processes and wake-ups lost in a crash.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time from one sweep to the next: after a pause the first event is published at once, under load many share a
/// sweep.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// How often the backlog is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// The handle of the task that publishes the outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay {
    wake: Arc<Notify>,
    /// Age of the oldest unpublished message, in seconds.
    age: Arc<AtomicI64>,
}

impl Relay {
    /// Starts to publish the outbox, oldest first, until the process stops. Replicas divide the work by shards of aggregates;
    /// one relay at a time publishes a shard. When a relay takes over from one that was only paused, a message may be
    /// published twice; consumers detect that by its sequence.
    pub fn start(ctx: &Context, outbox: Arc<dyn Outbox>, bus: Bus) -> Self {
        let wake = Arc::new(Notify::new());
        let age = Arc::new(AtomicI64::new(0));
        let worker = Worker {
            ctx: ctx.clone(),
            lease: ShardLease::new("relay", SHARDS, &ctx.instance),
            outbox,
            bus,
            wake: Arc::clone(&wake),
            published: ctx.metrics.counter("outbox_published_total", "Messages published to the broker.", &["topic"]),
        };
        ctx.spawn("backlog", measure(ctx.clone(), Arc::clone(&worker.outbox), Arc::clone(&age)));
        ctx.spawn("relay", worker.run());
        Self { wake, age }
    }

    /// Age of the oldest unpublished message in seconds, measured once a second.
    pub fn unpublished_seconds(&self) -> i64 {
        self.age.load(Ordering::Relaxed)
    }

    /// Wakes the relay after new messages were committed.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

struct Worker {
    ctx: Context,
    outbox: Arc<dyn Outbox>,
    lease: ShardLease,
    bus: Bus,
    wake: Arc<Notify>,
    published: IntCounterVec,
}

impl Worker {
    async fn run(mut self) {
        let mut pauses = chassis::backoff::pauses(LONGEST_PAUSE);
        let mut wait;
        let mut failing = false;
        loop {
            let begun = Instant::now();
            match self.sweep().await {
                Ok(()) => {
                    if failing {
                        tracing::info!("the outbox is published again");
                    }
                    failing = false;
                    wait = POLL_INTERVAL;
                    pauses = chassis::backoff::pauses(LONGEST_PAUSE);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = format!("{error:#}"), "cannot publish; events wait in the outbox");
                    }
                    failing = true;
                    wait = pauses.next().unwrap_or(POLL_INTERVAL);
                }
            }
            tokio::time::sleep_until(begun + MIN_INTERVAL).await;
            let woken = tokio::select! {
                () = self.ctx.shutdown.cancelled() => break,
                () = self.wake.notified(), if !failing => true,
                () = self.outbox.listen(), if !failing => false,
                () = tokio::time::sleep(wait) => false,
            };
            if woken && !self.lease.has_all() {
                // Relays of other replicas publish part of the new messages. Without the notification they find them by polling.
                let _ = self.outbox.notify().await;
            }
        }
        // Publishes what was committed while the service drained, if the bus is reachable.
        let _ = self.sweep().await;
        let _ = self.lease.release(&*self.outbox.leases()).await;
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        loop {
            let owned = self.lease.owned(&*self.outbox.leases()).await?;
            if owned.is_empty() {
                return Ok(());
            }
            let pending = self.outbox.pending(owned, BATCH).await?;
            if pending.is_empty() {
                return Ok(());
            }
            let (ids, messages): (Vec<String>, Vec<Message>) =
                pending.into_iter().map(|pending| (pending.id, pending.message)).unzip();
            self.ctx.crash.reach("relay.publish.before");
            let topics: Vec<String> = messages.iter().map(|message| message.topic.clone()).collect();
            self.bus.publish(messages).await?;
            for topic in topics {
                self.published.with_label_values(&[&topic]).inc();
            }
            self.ctx.crash.reach("relay.publish.after");
            self.outbox.mark_published(&ids).await?;
            self.ctx.crash.reach("relay.mark.after");
            if ids.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}

/// Measures the backlog, also while the relay waits for the broker.
async fn measure(ctx: Context, outbox: Arc<dyn Outbox>, oldest_seconds: Arc<AtomicI64>) {
    let depth = ctx.metrics.gauge("outbox_depth", "Unpublished messages.", &[]);
    let age = ctx.metrics.gauge("outbox_age_seconds", "Age of the oldest unpublished message.", &[]);
    loop {
        // After an error the next measurement sets the gauges.
        if let Ok((count, oldest)) = outbox.backlog().await {
            let seconds = oldest.map_or(0, |oldest| Timestamp::now().since(oldest).as_secs());
            depth.with_label_values::<&str>(&[]).set(count);
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            oldest_seconds.store(seconds, Ordering::Relaxed);
            age.with_label_values::<&str>(&[]).set(seconds);
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(MEASURE_INTERVAL) => {}
        }
    }
}

/// Crash points of every relay.
pub const CRASH_POINTS: &[&str] = &["relay.publish.before", "relay.publish.after", "relay.mark.after"];
