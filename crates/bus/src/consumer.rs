//! Takes a group's messages from the broker to a service's handler.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use chassis::{Context, backoff};
use commerce::Timestamp;
use futures::FutureExt;
use prometheus::{HistogramVec, IntCounterVec};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Bus, Error, Event, Message, dead_letters};

/// Most messages handled at once.
pub(crate) const BATCH: usize = 256;
/// A connection that stood so long was a good one: after its loss one begins with short pauses again.
const STOOD: Duration = Duration::from_secs(10);
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
        if error.is_away() { Self::Later(error.into()) } else { Self::Bad(error.into()) }
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

    /// Whether messages of this topic that are no CloudEvents come too, each as an [`Event`] of the kind
    /// [`crate::PLAIN`]; else they go to the dead letters.
    fn takes_plain(&self, _topic: &str) -> bool {
        false
    }
}

/// Where a group's messages come from.
pub(crate) trait Source: Send + Sync + 'static {
    /// A connection to the broker.
    type Session: Session;

    /// Connects. Tried again until it works.
    fn open(&self) -> impl Future<Output = Result<Self::Session, Error>> + Send;
}

/// A message as a broker brings it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) message: Message,
    /// Where it stands, or what it is called, if the broker tells: the same whenever it comes again. Empty if not.
    pub(crate) place: String,
}

/// A connection that brings a group's messages. After an error it is closed and another one is opened.
pub(crate) trait Session: Send {
    /// Shortest time from one batch to the next: the first event after a rest is taken at once, under load
    /// many share a transaction.
    const PACE: Duration = Duration::from_millis(20);

    /// Waits for messages: at least one, at most [`BATCH`], those of one key in their order. Nothing is lost when the wait
    /// is broken off.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Incoming>, Error>> + Send;

    /// The effect of all that `next` gave is durable: the broker may forget them. What it does not learn of
    /// comes again.
    fn done(&mut self) -> impl Future<Output = ()> + Send;

    /// Lets go, so that another replica may go on at once.
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
    dead: IntCounterVec,
    passed: HistogramVec,
}

/// Why a connection is followed no longer.
enum End {
    Stopped,
    Lost(Error),
}

/// Handles a group's messages until the process stops.
pub(crate) async fn run<S: Source, H: Handler>(consumer: Consumer<H>, source: S) {
    let stopped = consumer.ctx.shutdown.clone();
    let what = format!("reading the bus as {}", consumer.group);
    let mut pauses = backoff::pauses(SLOWEST);
    while let Some(mut session) = backoff::until_ok(&what, &stopped, || source.open()).await {
        let begun = Instant::now();
        let end = consumer.follow(&mut session).await;
        if begun.elapsed() > STOOD {
            pauses = backoff::pauses(SLOWEST);
        }
        session.close().await;
        match end {
            End::Stopped => break,
            End::Lost(error) => {
                tracing::warn!(
                    group = consumer.group,
                    error = &error as &dyn std::error::Error,
                    "lost the bus; connecting again"
                );
                if !rest(&stopped, &mut pauses).await {
                    break;
                }
            }
        }
    }
}

/// Waits for the next of some pauses; false when the process stops meanwhile.
async fn rest(stopped: &CancellationToken, pauses: &mut impl Iterator<Item = Duration>) -> bool {
    tokio::select! {
        () = stopped.cancelled() => false,
        () = tokio::time::sleep(pauses.next().unwrap_or(SLOWEST)) => true,
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
        let dead =
            ctx.metrics.counter("events_dead_total", "Messages given up to the dead letters.", &["group", "topic"]);
        for topic in topics {
            // Shown as zero from the start, so that an alert can tell "none" from "gone".
            dead.with_label_values(&[group, *topic]).reset();
            consumed.with_label_values(&[group, *topic]).reset();
        }
        let passed = ctx.metrics.histogram_with(
            "event_effect_seconds",
            "Time from an event to its durable effect.",
            &["group"],
            &[
                0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0,
                5.0, 10.0, 30.0, 60.0,
            ],
        );
        passed.with_label_values(&[group]);
        Self { ctx, bus, group, topics, handler, consumed, dead, passed }
    }

    /// Handles what a connection brings.
    async fn follow<S: Session>(&self, session: &mut S) -> End {
        let stopped = &self.ctx.shutdown;
        loop {
            let messages = tokio::select! {
                () = stopped.cancelled() => return End::Stopped,
                messages = session.next() => match messages {
                    Ok(messages) => messages,
                    Err(error) => return End::Lost(error),
                },
            };
            let begun = Instant::now();
            if !self.take(&messages).await {
                return End::Stopped;
            }
            session.done().await;
            if messages.len() < BATCH && !S::PACE.is_zero() {
                tokio::select! {
                    () = stopped.cancelled() => return End::Stopped,
                    () = tokio::time::sleep_until(begun + S::PACE) => {}
                }
            }
        }
    }

    /// Handles messages; false when the process stops before they are.
    async fn take(&self, messages: &[Incoming]) -> bool {
        let mut events = Vec::with_capacity(messages.len());
        for Incoming { message, place } in messages {
            match serde_json::from_str::<Event>(&message.payload) {
                // A dead letter that is replayed for one group has taken effect in the others.
                Ok(event) if event.replaygroup.as_deref().is_some_and(|group| group != self.group) => {}
                Ok(mut event) => {
                    event.topic.clone_from(&message.topic);
                    events.push((message, event));
                }
                Err(_) if self.handler.takes_plain(&message.topic) => {
                    events.push((message, Event::plain(message, place, Timestamp::now())));
                }
                Err(error) => {
                    if !self.bury(message, &format!("no CloudEvent: {error}")).await {
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
            if !self.persist(message, event).await {
                return false;
            }
        }
        true
    }

    /// Tries one event until it is handled, given up, or the process stops (false).
    async fn persist(&self, message: &Message, event: Event) -> bool {
        let event = [event];
        let mut pauses = backoff::pauses(SLOWEST);
        let (mut tries, mut said) = (0, false);
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
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(error = format!("{error:#}"), event.id = event[0].id, "an event has to wait");
                    }
                }
            }
            if !rest(&self.ctx.shutdown, &mut pauses).await {
                return false;
            }
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
                let passed = Timestamp::now().since(event.time);
                self.passed.with_label_values(&[self.group]).observe(passed.as_secs_f64());
            }
        }
        result
    }

    /// Puts a message among the dead letters, with the reason; it keeps its key. Where the broker takes no letter of that
    /// size it is cut, else nothing after it would ever be handled. False when the process stops before it is there.
    async fn bury(&self, message: &Message, reason: &str) -> bool {
        tracing::error!(topic = message.topic, key = message.key, reason, "a message goes to the dead letters");
        self.dead.with_label_values(&[self.group, &message.topic]).inc();
        let mut room = dead_letters::MOST;
        let mut pauses = backoff::pauses(SLOWEST);
        loop {
            let letter = dead_letters::write(message, self.group, reason, room);
            let size = letter.payload.len();
            let Err(error) = self.bus.publish(vec![letter]).await else { return true };
            tracing::warn!(error = &error as &dyn std::error::Error, size, "cannot write a dead letter; trying again");
            if error.is_too_large() && size > dead_letters::LEAST {
                room = (size / 2).max(dead_letters::LEAST);
                continue;
            }
            if !rest(&self.ctx.shutdown, &mut pauses).await {
                return false;
            }
        }
    }
}
