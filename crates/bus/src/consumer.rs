//! Delivers a group's messages from the broker to a service's handler.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use chassis::{Context, backoff};
use commerce::Timestamp;
use db::Db;
use futures::FutureExt;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, Error, Event, Message, dead_letters,
    inbox::{self, InboxError},
};

/// Maximum number of messages in a batch.
pub(crate) const BATCH: usize = 256;
/// A connection that lasted this long resets the back-off.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Attempts before a message that cannot be handled goes to the dead letters.
const MAX_ATTEMPTS: u32 = 3;
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest time from an event to its effect that the metrics tell.
const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

/// Why events were not handled.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A dependency is unreachable; the events are retried until it is back.
    #[error("cannot be handled now")]
    Later(#[source] anyhow::Error),
    /// An event cannot be handled; after some attempts the one at fault goes to the dead letters.
    #[error("cannot be handled")]
    Bad(#[source] anyhow::Error),
    /// An earlier event of the same aggregate has not taken effect. The event waits behind it in the dead letters.
    #[error(transparent)]
    Ahead(InboxError),
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        if error.is_of_data() { Self::Bad(error.into()) } else { Self::Later(error.into()) }
    }
}

impl From<InboxError> for Failure {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::Store(error) => error.into(),
            ahead @ InboxError::Ahead { .. } => Self::Ahead(ahead),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Bad(error.into())
    }
}

/// A service's handler of events.
pub trait Handler: Send + Sync + 'static {
    /// Handles events in their order, in one transaction; an error must leave no effect. An event that has taken effect
    /// before must change nothing (see [`crate::inbox::fresh`]).
    fn handle(&self, events: &[Event]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The store whose inbox the handler uses. When an event of it goes to the dead letters, later ones of the aggregate wait for it.
    /// `None` if the effects of the events do not depend on their order.
    fn inbox(&self) -> Option<&Db> {
        None
    }

    /// Whether messages of this topic that are not CloudEvents are handled too, each as an [`Event`] of the kind
    /// [`crate::PLAIN`]; else they go to the dead letters.
    fn takes_plain(&self, _topic: &str) -> bool {
        false
    }
}

/// A broker as the source of a group's messages.
pub(crate) trait Source: Send + Sync + 'static {
    /// A connection to the broker.
    type Session: Session;

    /// Connects; called again until it succeeds.
    fn open(&self) -> impl Future<Output = Result<Self::Session, Error>> + Send;
}

/// A message as a broker delivers it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) message: Message,
    /// Position or id of the message at the broker, the same at every redelivery. Empty if the broker has none.
    pub(crate) broker_id: String,
}

/// A connection that delivers a group's messages. After an error it is closed and another one is opened.
pub(crate) trait Session: Send {
    /// Shortest time from one batch to the next: after a pause the first event is handled at once, under load many share a
    /// transaction.
    const MIN_INTERVAL: Duration = Duration::from_millis(20);

    /// Waits for messages: at least one, at most [`BATCH`], those of one key in their order. Cancel-safe: no message is lost
    /// when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Incoming>, Error>> + Send;

    /// Acknowledges the messages of the last `next`, whose effect is durable. Unacknowledged messages are delivered again.
    fn acknowledge(&mut self) -> impl Future<Output = ()> + Send;

    /// Closes the connection, so that another replica can take over at once.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A group with its handler.
pub(crate) struct Consumer<H> {
    pub(crate) ctx: Context,
    bus: Bus,
    pub(crate) group: &'static str,
    pub(crate) topics: &'static [&'static str],
    handler: H,
    consumed: IntCounterVec,
    dead_lettered: IntCounterVec,
    ahead: IntCounterVec,
    waiting: IntGaugeVec,
    effect_seconds: HistogramVec,
}

/// Why the consumption of a session ended.
enum SessionEnd {
    Stopped,
    Lost(Error),
}

/// Handles a group's messages until the process stops.
pub(crate) async fn run<S: Source, H: Handler>(consumer: Consumer<H>, source: S) {
    let stopped = consumer.ctx.shutdown.clone();
    let what = format!("reading the bus as {}", consumer.group);
    let mut pauses = backoff::pauses(LONGEST_PAUSE);
    while let Some(mut session) = backoff::until_ok(&what, &stopped, || source.open()).await {
        let begun = Instant::now();
        let end = consumer.consume(&mut session).await;
        if begun.elapsed() > STABLE_AFTER {
            pauses = backoff::pauses(LONGEST_PAUSE);
        }
        session.close().await;
        match end {
            SessionEnd::Stopped => break,
            SessionEnd::Lost(error) => {
                tracing::warn!(
                    group = consumer.group,
                    error = &error as &dyn std::error::Error,
                    "lost the connection to the bus; reconnecting"
                );
                if !sleep_next(&stopped, &mut pauses).await {
                    break;
                }
            }
        }
    }
}

/// Sleeps for the next pause; false when the process stops meanwhile.
async fn sleep_next(stopped: &CancellationToken, pauses: &mut impl Iterator<Item = Duration>) -> bool {
    tokio::select! {
        () = stopped.cancelled() => false,
        () = tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)) => true,
    }
}

impl<H: Handler> Consumer<H> {
    pub(crate) fn new(
        ctx: Context,
        bus: Bus,
        group: &'static str,
        topics: &'static [&'static str],
        handler: H,
    ) -> Self {
        let consumed = ctx.metrics.counter("events_consumed_total", "Events handled.", &["group", "topic"]);
        let dead_lettered =
            ctx.metrics.counter("events_dead_total", "Messages sent to the dead letters.", &["group", "topic"]);
        let ahead = ctx.metrics.counter(
            "events_ahead_total",
            "Messages sent to the dead letters because an earlier event of their aggregate has not taken effect.",
            &["group", "topic"],
        );
        let waiting = ctx.metrics.gauge(
            "events_waiting",
            "1 while a group retries an event because a dependency does not answer or fails, which delays all later events.",
            &["group"],
        );
        waiting.with_label_values(&[group]).set(0);
        for topic in topics {
            // Exported as zero from the start, so that an alert can distinguish "none" from "missing".
            dead_lettered.with_label_values(&[group, *topic]).reset();
            consumed.with_label_values(&[group, *topic]).reset();
            ahead.with_label_values(&[group, *topic]).reset();
        }
        let effect_seconds = ctx.metrics.histogram_with(
            "event_effect_seconds",
            "Time from an event to its durable effect.",
            &["group"],
            &[
                0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0,
                5.0, 10.0, 30.0, 60.0,
            ],
        );
        effect_seconds.with_label_values(&[group]);
        Self { ctx, bus, group, topics, handler, consumed, dead_lettered, ahead, waiting, effect_seconds }
    }

    /// Handles the messages of a session until it fails or the process stops.
    async fn consume<S: Session>(&self, session: &mut S) -> SessionEnd {
        let stopped = &self.ctx.shutdown;
        loop {
            let messages = tokio::select! {
                () = stopped.cancelled() => return SessionEnd::Stopped,
                messages = session.next() => match messages {
                    Ok(messages) => messages,
                    Err(error) => return SessionEnd::Lost(error),
                },
            };
            let begun = Instant::now();
            if !self.handle_batch(&messages).await {
                return SessionEnd::Stopped;
            }
            session.acknowledge().await;
            if messages.len() < BATCH && !S::MIN_INTERVAL.is_zero() {
                tokio::select! {
                    () = stopped.cancelled() => return SessionEnd::Stopped,
                    () = tokio::time::sleep_until(begun + S::MIN_INTERVAL) => {}
                }
            }
        }
    }

    /// Handles a batch; false when the process stops before it is handled.
    async fn handle_batch(&self, messages: &[Incoming]) -> bool {
        let mut events = Vec::with_capacity(messages.len());
        for Incoming { message, broker_id } in messages {
            match serde_json::from_str::<Event>(&message.payload) {
                // A dead letter replayed for one group has taken effect in the others.
                Ok(event) if event.replaygroup.as_deref().is_some_and(|group| group != self.group) => {}
                Ok(mut event) => {
                    event.topic.clone_from(&message.topic);
                    events.push((message, event));
                }
                Err(_) if self.handler.takes_plain(&message.topic) => {
                    events.push((message, Event::plain(message, broker_id, Timestamp::now())));
                }
                Err(error) => {
                    if !self.send_to_dead_letters(message, None, &format!("no CloudEvent: {error}")).await {
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
            if !self.handle_until_done(message, event).await {
                return false;
            }
        }
        true
    }

    /// Retries one event until it is handled or dead-lettered; false when the process stops before.
    async fn handle_until_done(&self, message: &Message, event: Event) -> bool {
        let event = [event];
        let mut pauses = backoff::pauses(LONGEST_PAUSE);
        let (mut attempts, mut logged) = (0, false);
        let waiting = self.waiting.with_label_values(&[self.group]);
        loop {
            let handled = self.handle(&event).await;
            waiting.set(0);
            match handled {
                Ok(()) => return true,
                Err(Failure::Bad(error)) => {
                    attempts += 1;
                    if attempts >= MAX_ATTEMPTS {
                        return self.send_to_dead_letters(message, Some(&event[0]), &format!("{error:#}")).await;
                    }
                }
                // The one before it may be on its way.
                Err(Failure::Ahead(InboxError::Ahead { is_dead: false, .. })) if attempts + 1 < MAX_ATTEMPTS => {
                    attempts += 1
                }
                Err(Failure::Ahead(ahead)) => {
                    self.ahead.with_label_values(&[self.group, &message.topic]).inc();
                    return self.send_to_dead_letters(message, Some(&event[0]), &ahead.to_string()).await;
                }
                Err(Failure::Later(error)) => {
                    waiting.set(1);
                    if !std::mem::replace(&mut logged, true) {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            event.id = event[0].id,
                            "an event has to wait for a dependency"
                        );
                    }
                }
            }
            if !sleep_next(&self.ctx.shutdown, &mut pauses).await {
                return false;
            }
        }
    }

    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        // One span per event, so that each event's trace shows where it took effect.
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
                // Another program may have set the time, and one absurd value would make the sum useless.
                let elapsed = Timestamp::now().since(event.time).min(LONGEST_DELAY);
                self.effect_seconds.with_label_values(&[self.group]).observe(elapsed.as_secs_f64());
            }
        }
        result
    }

    /// Publishes a message to the dead letters, with the reason and its key. If the broker refuses a letter of that size it is
    /// truncated, since otherwise the messages after it would never be handled. False when the process stops before it is
    /// published.
    async fn send_to_dead_letters(&self, message: &Message, event: Option<&Event>, reason: &str) -> bool {
        tracing::error!(topic = message.topic, key = message.key, reason, "a message goes to the dead letters");
        self.dead_lettered.with_label_values(&[self.group, &message.topic]).inc();
        let mut max_bytes = dead_letters::MAX_BYTES;
        let mut pauses = backoff::pauses(LONGEST_PAUSE);
        loop {
            let letter = dead_letters::encode(message, self.group, reason, max_bytes);
            let size = letter.payload.len();
            let Err(error) = self.bus.publish(vec![letter]).await else { return self.note_dead_letter(event).await };
            tracing::warn!(error = &error as &dyn std::error::Error, size, "cannot publish a dead letter; retrying");
            if error.is_too_large() && size > dead_letters::MIN_BYTES {
                max_bytes = (size / 2).max(dead_letters::MIN_BYTES);
                continue;
            }
            if !sleep_next(&self.ctx.shutdown, &mut pauses).await {
                return false;
            }
        }
    }

    /// Lets later events of the aggregate wait for one that is in the dead letters; false when the process stops before that is
    /// stored.
    async fn note_dead_letter(&self, event: Option<&Event>) -> bool {
        let (Some(event), Some(db)) = (event, self.handler.inbox()) else { return true };
        let noted = || async {
            match inbox::note_dead_letter(db, event).await {
                // A subject that the store does not take has no later events there either.
                Err(error) if error.is_of_data() => Ok(()),
                noted => noted,
            }
        };
        backoff::until_ok("noting a dead letter", &self.ctx.shutdown, noted).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_data_of_a_write_makes_a_message_bad() {
        // Neither temporary nor of the data: a migration is missing, or a column has been altered.
        let defect = db::Error::Unreadable("orders.total");
        assert!(!defect.is_unavailable() && matches!(Failure::from(defect), Failure::Later(_)));
    }
}
