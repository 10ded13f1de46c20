//! The network between the hosts, and the agenda of the run: what is delivered or done at which time.
//!
//! A message is a whole request or response. It may be lost, delayed, delivered twice, or overtaken by later ones; a request may take
//! effect and its response be lost.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Body;
use bytes::Bytes;
use chassis::{Transport, Unreachable};
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use tokio::sync::oneshot;

use crate::{
    disk::Disk,
    random::Random,
    trace::{Digest, Trace},
};

/// How often the network fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Of requests that are lost.
    pub lost: f64,
    /// Of requests that are delivered, and whose response is lost.
    pub lost_answer: f64,
    /// Of requests that are delivered twice.
    pub duplicate: f64,
    /// Of messages that are delayed by up to [`LONGEST_DELAY`].
    pub delayed: f64,
}

/// The longest delay of a message in microseconds: longer than any caller waits.
pub const LONGEST_DELAY: u64 = 4_000_000;

/// A response, or that there is none.
pub type Answer = Result<http::Response<Body>, Unreachable>;

/// Where the response to a request goes.
#[derive(Debug)]
pub struct Reply {
    from: &'static str,
    to: &'static str,
    run: u64,
    lost: bool,
    sender: oneshot::Sender<Answer>,
}

/// What is done at a time.
#[derive(Debug)]
pub enum Event {
    /// A request arrives.
    Request {
        /// The URL's host, as `stock` or `stock-grpc`.
        to: String,
        /// The request.
        request: http::Request<Bytes>,
        /// Where its response goes; the second delivery of a request has none.
        reply: Option<Reply>,
    },
    /// A response arrives.
    Response(Reply, Answer),
    /// A host starts.
    Start(usize),
    /// The disk of a run has room again.
    Room(u64),
}

struct State {
    random: Random,
    trace: Trace,
    rates: Rates,
    now: u64,
    sequence: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    /// When the last message from one host to another is due.
    last_due: HashMap<(&'static str, String), u64>,
}

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

impl Network {
    /// An empty network without faults.
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed, "network"),
            trace,
            rates: Rates::default(),
            now: 0,
            sequence: 0,
            agenda: BTreeMap::new(),
            last_due: HashMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how often it fails.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// Sets the time.
    pub fn set_time(&self, now: u64) {
        self.state().now = now;
    }

    /// Does this in so many microseconds.
    pub fn schedule(&self, delay: u64, event: Event) {
        let mut state = self.state();
        let due = state.now + delay;
        state.push(due, event);
    }

    /// When the next event is due.
    pub fn next_due(&self) -> Option<u64> {
        self.state().agenda.keys().next().map(|(due, _)| *due)
    }

    /// The next event that is due by this time.
    pub fn due(&self, now: u64) -> Option<Event> {
        let mut state = self.state();
        let first = state.agenda.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// Sends the response to a request.
    pub fn answer(&self, reply: Reply, answer: Answer, about: (u16, u64, usize)) {
        let mut state = self.state();
        let (status, digest, length) = about;
        let now = state.now;
        let Reply { from, to, .. } = reply;
        state.trace.event(now, format_args!("{to} answers {from}: {status} {digest:016x} {length}"));
        if reply.lost {
            state.trace.add("network: lost answer", 1);
            return;
        }
        let due = state.due(to, from);
        state.push(due, Event::Response(reply, answer));
    }

    /// Sends a request; `None` if the sender is dead.
    fn send(&self, wire: &Wire, parts: http::request::Parts, body: Bytes) -> Option<oneshot::Receiver<Answer>> {
        if wire.disk.is_dead(wire.run) {
            return None;
        }
        let mut state = self.state();
        let to = parts.uri.host().unwrap_or_default().to_owned();
        let (digest, length, now, from) = (Digest::of(&body), body.len(), state.now, wire.from);
        state
            .trace
            .event(now, format_args!("{from} -> {to}: {} {} {digest:016x} {length}", parts.method, parts.uri.path()));
        let (sender, receiver) = oneshot::channel();
        let rates = state.rates;
        if state.random.chance(rates.lost) {
            state.trace.add("network: lost request", 1);
            return Some(receiver);
        }
        let lost = state.random.chance(rates.lost_answer);
        let request = http::Request::from_parts(parts, body);
        if state.random.chance(rates.duplicate) {
            state.trace.add("network: duplicate", 1);
            let due = state.due(from, &to);
            state.push(due, Event::Request { to: to.clone(), request: request.clone(), reply: None });
        }
        let due = state.due(from, &to);
        let service = crate::fleet::host_of(&to).0;
        let reply = Reply { from, to: service, run: wire.run, lost, sender };
        state.push(due, Event::Request { to, request, reply: Some(reply) });
        Some(receiver)
    }
}

impl State {
    fn push(&mut self, due: u64, event: Event) {
        self.sequence += 1;
        self.agenda.insert((due, self.sequence), event);
    }

    /// When a message that is sent now arrives.
    fn due(&mut self, from: &'static str, to: &str) -> u64 {
        let mut delay = self.random.between(300, 3_000);
        if self.random.chance(self.rates.delayed) {
            self.trace.add("network: delayed", 1);
            delay = self.random.between(3_000, LONGEST_DELAY);
        }
        let due = self.now + delay;
        let last = self.last_due.entry((from, to.to_owned())).or_default();
        if due < *last {
            self.trace.add("network: overtaken", 1);
        }
        *last = (*last).max(due);
        due
    }
}

impl Reply {
    /// Hands the response to the caller, unless it is dead.
    pub fn deliver(self, answer: Answer, disk: &Disk) {
        if !disk.is_dead(self.run) {
            // A caller that waited long enough needs no response.
            let _ = self.sender.send(answer);
        }
    }
}

/// A host's access to the network.
#[derive(Clone)]
pub struct Wire {
    /// The network.
    pub network: Network,
    /// The disk, which knows who is dead.
    pub disk: Disk,
    /// The host.
    pub from: &'static str,
    /// Its run.
    pub run: u64,
}

impl Transport for Wire {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'static, Answer> {
        let wire = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Unreachable)?.to_bytes();
            match wire.network.send(&wire, parts, body) {
                Some(answer) => match answer.await {
                    Ok(answer) => answer,
                    // Its sender is gone: the message is lost, and the caller waits as long as it wants.
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        })
    }
}

/// Reads a response to its end; returns it with its status, a digest and its length.
pub async fn read(response: http::Response<Body>) -> (Answer, (u16, u64, usize)) {
    let (parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else { return (Err(Unreachable), (0, 0, 0)) };
    let trailers = collected.trailers().cloned();
    let bytes = collected.to_bytes();
    let about = (parts.status.as_u16(), Digest::of(&bytes), bytes.len());
    let body = match trailers {
        Some(trailers) => Body::new(Full::new(bytes).with_trailers(async move { Some(Ok(trailers)) })),
        None => Body::from(bytes),
    };
    (Ok(http::Response::from_parts(parts, body)), about)
}
