//! Takes a group's messages from the broker to a service's handler.

use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use chassis::Context;
use futures::FutureExt;
use prometheus::IntCounterVec;
use tokio::time::Instant;

use crate::{Embedded, Event, Outgoing, embedded::Logged};

/// Most messages handled at once.
const BATCH: i64 = 256;
/// How often the log is looked at without a wake-up, for what other processes publish.
const POLL: Duration = Duration::from_millis(250);
/// Shortest time from one batch to the next: the first event after a rest is taken at once, under load
/// many share a transaction.
const PACE: Duration = Duration::from_millis(20);
/// How often offsets are stored. What is handled twice after a crash is dropped by the inbox.
const STORE: Duration = Duration::from_millis(500);
/// Tries before a message that cannot be handled goes to the dead letters.
const TRIES: u32 = 3;
/// Longest wait between tries.
const SLOWEST: Duration = Duration::from_secs(5);

/// Why events were not handled.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something is away; they are tried again until it is back.
    #[error("not now")]
    Later(#[source] anyhow::Error),
    /// They cannot be handled; after some tries the one at fault goes to the dead letters.
    #[error("cannot be handled")]
    Bad(#[source] anyhow::Error),
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Unavailable(_) => Self::Later(error.into()),
            _ => Self::Bad(error.into()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Bad(error.into())
    }
}

/// What a service does with events.
pub trait Handler: Send + Sync + 'static {
    /// Handles events in their order, as one transaction; an error must leave no trace. What has taken
    /// effect before must change nothing (see [`crate::inbox::fresh`]).
    fn handle(&self, events: &[Event]) -> impl Future<Output = Result<(), Failure>> + Send;
}

pub(crate) async fn run<H: Handler>(
    ctx: Context,
    log: Arc<Embedded>,
    group: &'static str,
    topics: &'static [&'static str],
    handler: H,
) {
    let consumer = Consumer {
        consumed: ctx.metrics.counter("events_consumed_total", "Events handled.", &["group", "topic"]),
        dead: ctx.metrics.counter("events_dead_total", "Messages given up to the dead letters.", &["group", "topic"]),
        ctx: ctx.clone(),
        log,
        group,
        handler,
    };
    for topic in topics {
        // Shown as zero from the start, so that an alert can tell "none" from "gone".
        consumer.dead.with_label_values(&[group, *topic]).reset();
    }
    let stopped = ctx.shutdown.clone();
    let Some(mut offsets) = consumer.load_offsets(topics).await else { return };
    let mut wake = consumer.log.watch();
    let lag = ctx.metrics.gauge("consumer_lag", "Messages still to be taken.", &["group"]);
    let mut stored = Instant::now();
    let mut dirty = false;
    while !stopped.is_cancelled() {
        wake.mark_unchanged();
        let begun = Instant::now();
        let messages = match consumer.log.read(&offsets, BATCH).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot read the bus; trying again");
                tokio::time::sleep(SLOWEST).await;
                continue;
            }
        };
        if let Some(last) = messages.last().map(|message| message.position) {
            let full = messages.len() >= BATCH as usize;
            let new: Vec<Logged> = messages
                .into_iter()
                .filter(|m| offsets.get(&m.message.topic).is_none_or(|at| m.position > *at))
                .collect();
            if !consumer.take(&new).await {
                break;
            }
            for offset in offsets.values_mut() {
                *offset = (*offset).max(last);
            }
            dirty = true;
            if !full {
                tokio::time::sleep_until(begun + PACE).await;
            }
        } else {
            tokio::select! {
                () = stopped.cancelled() => {}
                _ = wake.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        if dirty && stored.elapsed() >= STORE {
            dirty = consumer.log.store_offsets(group, &offsets).await.is_err();
            stored = Instant::now();
            if let Ok(n) = consumer.log.lag(&offsets).await {
                lag.with_label_values(&[group]).set(n);
            }
        }
    }
    if dirty {
        // If this fails the events come again and the inbox drops them.
        let _ = consumer.log.store_offsets(group, &offsets).await;
    }
}

struct Consumer<H> {
    ctx: Context,
    log: Arc<Embedded>,
    group: &'static str,
    handler: H,
    consumed: IntCounterVec,
    dead: IntCounterVec,
}

impl<H: Handler> Consumer<H> {
    async fn load_offsets(&self, topics: &[&str]) -> Option<HashMap<String, i64>> {
        loop {
            match self.log.offsets(self.group).await {
                Ok(known) => {
                    return Some(
                        topics
                            .iter()
                            .map(|topic| ((*topic).to_owned(), known.get(*topic).copied().unwrap_or(0)))
                            .collect(),
                    );
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot read the bus; trying again");
                    tokio::select! {
                        () = self.ctx.shutdown.cancelled() => return None,
                        () = tokio::time::sleep(SLOWEST) => {}
                    }
                }
            }
        }
    }

    /// Handles messages; false when the process stops before they are.
    async fn take(&self, messages: &[Logged]) -> bool {
        let mut events = Vec::with_capacity(messages.len());
        for message in messages {
            match serde_json::from_str::<Event>(&message.message.payload) {
                Ok(mut event) => {
                    event.topic.clone_from(&message.message.topic);
                    events.push((message, event));
                }
                Err(error) => {
                    if !self.bury(&message.message, &format!("no CloudEvent: {error}")).await {
                        return false;
                    }
                }
            }
        }
        let batch: Vec<Event> = events.iter().map(|(_, event)| event.clone()).collect();
        if batch.is_empty() || self.handle(&batch).await.is_ok() {
            return true;
        }
        for (message, event) in events {
            if !self.persist(&message.message, event).await {
                return false;
            }
        }
        true
    }

    /// Tries one event until it is handled, given up, or the process stops (false).
    async fn persist(&self, message: &Outgoing, event: Event) -> bool {
        let event = [event];
        let mut wait = Duration::from_millis(50);
        let mut tries = 0;
        loop {
            match self.handle(&event).await {
                Ok(()) => return true,
                Err(Failure::Bad(error)) => {
                    tries += 1;
                    if tries >= TRIES {
                        return self.bury(message, &format!("{error:#}")).await;
                    }
                }
                Err(Failure::Later(error)) => {
                    if wait < Duration::from_millis(100) {
                        tracing::warn!(error = format!("{error:#}"), event.id = event[0].id, "an event has to wait");
                    }
                }
            }
            tokio::select! {
                () = self.ctx.shutdown.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(SLOWEST);
        }
    }

    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        // One span an event, so that each event's trace shows where it took effect.
        let spans: Vec<tracing::Span> = events
            .iter()
            .filter_map(|event| {
                let span = tracing::info_span!(
                    "consume",
                    service = self.ctx.name,
                    event.kind = event.kind,
                    event.id = event.id
                );
                chassis::trace::set_parent(&span, event.traceparent.as_deref()?);
                Some(span)
            })
            .collect();
        let result = match AssertUnwindSafe(self.handler.handle(events)).catch_unwind().await {
            Ok(result) => result,
            Err(_) => Err(Failure::Bad(anyhow::anyhow!("the handler panicked"))),
        };
        drop(spans);
        if result.is_ok() {
            for event in events {
                self.consumed.with_label_values(&[self.group, &event.topic]).inc();
            }
        }
        result
    }

    /// Puts a message among the dead letters, with the reason; it keeps its key. False when the process
    /// stops before it is there.
    async fn bury(&self, message: &Outgoing, reason: &str) -> bool {
        tracing::error!(topic = message.topic, key = message.key, reason, "a message goes to the dead letters");
        self.dead.with_label_values(&[self.group, &message.topic]).inc();
        let letter = Outgoing {
            topic: format!("{}.dlq", message.topic),
            key: message.key.clone(),
            payload: serde_json::json!({
                "reason": reason, "group": self.group, "topic": message.topic, "payload": message.payload,
            })
            .to_string(),
        };
        while let Err(error) = self.log.publish(vec![letter.clone()]).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot write a dead letter; trying again");
            tokio::select! {
                () = self.ctx.shutdown.cancelled() => return false,
                () = tokio::time::sleep(SLOWEST) => {}
            }
        }
        true
    }
}
