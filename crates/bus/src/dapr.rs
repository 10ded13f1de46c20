//! Dapr: publishes through a sidecar, which delivers messages by HTTP requests.
//!
//! The consumer group of a sidecar is its app id, independent of the groups of the topology. So a process that runs one
//! service has that service's group, and in a process that runs several services each message is delivered once, to all
//! groups that consume its topic.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{Extensions, HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Error, Message, Sidecar,
    consumer::{self, BATCH, Incoming},
    event::Envelope,
    per_key_order::publish_in_order,
    sidecar::TOKEN,
};

/// Time-out of a request to the sidecar.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of keys whose messages are published at the same time.
const MAX_CONCURRENT_KEYS: usize = 64;
/// Deliveries queued for a group; further ones wait at the sidecar.
const QUEUE_LENGTH: usize = 1024;

/// The settings in the URL.
pub(crate) struct Settings {
    /// URL of the sidecar.
    pub(crate) base: Url,
    /// The pub/sub component of the sidecar.
    pub(crate) pubsub: String,
    /// Prefix of the topic names, so that several installations can share a broker.
    pub(crate) prefix: String,
}

/// The adapter for a Dapr sidecar.
pub(crate) struct Dapr {
    settings: Settings,
    http: reqwest::Client,
    /// The token that authenticates requests to the sidecar.
    api_token: Option<String>,
    sidecar: Sidecar,
    groups: Mutex<Vec<Group>>,
}

/// A consumer group in this process.
struct Group {
    topics: &'static [&'static str],
    deliveries: mpsc::Sender<Delivery>,
}

/// A message whose acknowledgement the sidecar waits for.
pub(crate) struct Delivery {
    message: Message,
    done: oneshot::Sender<()>,
}

impl Dapr {
    pub(crate) fn open(settings: Settings) -> Result<Self, Error> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(Error::Dapr)?;
        let api_token = chassis::config::var("DAPR_API_TOKEN");
        Ok(Self { settings, http, api_token, sidecar: Sidecar::of_process(), groups: Mutex::new(Vec::new()) })
    }

    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        publish_in_order(messages, MAX_CONCURRENT_KEYS, |message| self.send(message)).await
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let Settings { base, pubsub, prefix } = &self.settings;
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1.0", "publish", pubsub, &format!("{prefix}{}", message.topic)]);
        }
        url.query_pairs_mut().append_pair("metadata.partitionKey", &message.key);
        let envelope = Envelope::parse(&message.payload);
        if envelope.is_none() {
            // Without this the sidecar would wrap it into an event of its own.
            url.query_pairs_mut().append_pair("metadata.rawPayload", "true");
        }
        let kind = if envelope.is_some() { "application/cloudevents+json" } else { "application/json" };
        let mut request = self.http.post(url).header(CONTENT_TYPE, kind).body(message.payload);
        if let Some(traceparent) = envelope.and_then(|envelope| envelope.traceparent) {
            // The sidecar overwrites the trace in the event with that of the request.
            request = request.header("traceparent", traceparent);
        }
        if let Some(token) = &self.api_token {
            request = request.header(TOKEN, token);
        }
        let response = request.send().await.map_err(|error| Error::Dapr(error.without_url()))?;
        if response.status().is_success() {
            return Ok(());
        }
        let (status, mut reason) = (response.status(), response.text().await.unwrap_or_default());
        reason.truncate(reason.char_indices().nth(200).map_or(reason.len(), |(end, _)| end));
        Err(Error::Refused { topic: message.topic, reason: format!("{status} {reason}") })
    }

    /// Registers a group, to which the routes deliver from then on.
    pub(crate) fn source(&self, topics: &'static [&'static str]) -> Source {
        let (deliveries, receiver) = mpsc::channel(QUEUE_LENGTH);
        self.groups().push(Group { topics, deliveries });
        Source { deliveries: Arc::new(tokio::sync::Mutex::new(receiver)) }
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Vec<Group>> {
        // A panic cannot leave the list half changed, so poisoning is ignored.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn routes(self: Arc<Self>) -> Router {
        Router::new()
            .route("/dapr/subscribe", get(subscriptions))
            .route("/dapr/events/{topic}", post(deliver))
            .with_state(self)
    }
}

async fn subscriptions(State(dapr): State<Arc<Dapr>>, headers: HeaderMap, extensions: Extensions) -> Response {
    if !dapr.sidecar.is_caller(&headers, &extensions) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut topics: Vec<&str> = dapr.groups().iter().flat_map(|group| group.topics).copied().collect();
    topics.sort_unstable();
    topics.dedup();
    let subscription = |topic: &&str| {
        json!({
            "pubsubname": dapr.settings.pubsub,
            "topic": format!("{}{topic}", dapr.settings.prefix),
            "route": format!("/dapr/events/{topic}"),
        })
    };
    Json(topics.iter().map(subscription).collect::<Vec<_>>()).into_response()
}

/// Receives one message, and responds when its effect is durable.
async fn deliver(
    State(dapr): State<Arc<Dapr>>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
    payload: String,
) -> Response {
    // A web page in a browser on this machine could send plain text without a CORS preflight, but not JSON.
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.contains("json")));
    if !is_json || !dapr.sidecar.is_caller(&headers, &extensions) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let groups: Vec<mpsc::Sender<Delivery>> = {
        let groups = dapr.groups();
        groups.iter().filter(|g| g.topics.contains(&topic.as_str())).map(|g| g.deliveries.clone()).collect()
    };
    if groups.is_empty() {
        return StatusCode::NOT_FOUND.into_response();
    }
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(default)]
        subject: String,
    }
    let key = serde_json::from_str::<Envelope>(&payload).map(|envelope| envelope.subject).unwrap_or_default();
    let mut pending = Vec::new();
    for group in groups {
        let (done, outcome) = oneshot::channel();
        let message = Message { topic: topic.clone(), key: key.clone(), payload: payload.clone() };
        // A group that has ended drops the sender, which makes the outcome an error.
        let _ = group.send(Delivery { message, done }).await;
        pending.push(outcome);
    }
    let done = futures::future::join_all(pending).await.iter().all(Result::is_ok);
    Json(json!({"status": if done { "SUCCESS" } else { "RETRY" }})).into_response()
}

/// The deliveries of the routes to a group.
pub(crate) struct Source {
    deliveries: Arc<tokio::sync::Mutex<mpsc::Receiver<Delivery>>>,
}

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        Ok(Session { deliveries: Arc::clone(&self.deliveries).lock_owned().await, pending: Vec::new() })
    }
}

/// A consumer's hold on the deliveries of its group.
pub(crate) struct Session {
    deliveries: tokio::sync::OwnedMutexGuard<mpsc::Receiver<Delivery>>,
    /// Acknowledges the deliveries of the last batch.
    pending: Vec<oneshot::Sender<()>>,
}

impl consumer::Session for Session {
    // The sidecar delivers the next message of a partition only after the response to the one before, so waiting for a
    // larger batch would only delay it.
    const MIN_INTERVAL: Duration = Duration::ZERO;

    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        let mut deliveries = Vec::new();
        if self.deliveries.recv_many(&mut deliveries, BATCH).await == 0 {
            return Err(Error::Stopped);
        }
        // A sidecar passes on no position; it wraps messages that are not CloudEvents into events with new ids.
        let incoming = |message| Incoming { message, broker_id: String::new() };
        let (messages, pending) =
            deliveries.into_iter().map(|delivery| (incoming(delivery.message), delivery.done)).unzip();
        self.pending = pending;
        Ok(messages)
    }

    async fn acknowledge(&mut self) {
        for done in self.pending.drain(..) {
            // After a time-out of its own the sidecar no longer waits; it delivers the message again.
            let _ = done.send(());
        }
    }

    async fn close(self) {}
}
