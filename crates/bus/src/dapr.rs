//! Dapr: a sidecar that publishes for us, and brings what it hears by HTTP.
//!
//! The group of a sidecar is its app id; it knows nothing of ours. So a process that runs one service has that
//! service's group, and in one that runs several each message is brought once, to all groups that hear its topic.

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

/// Longest wait for the sidecar.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most keys whose messages are under way at once.
const WIDTH: usize = 64;
/// Deliveries that wait for a group; more wait at the sidecar.
const QUEUE: usize = 1024;

/// What the URL says.
pub(crate) struct Settings {
    /// Where the sidecar is.
    pub(crate) base: Url,
    /// The component that it publishes through.
    pub(crate) pubsub: String,
    /// Before the names of topics, so that several houses can share a broker.
    pub(crate) prefix: String,
}

/// A sidecar.
pub(crate) struct Dapr {
    settings: Settings,
    http: reqwest::Client,
    /// What we show to the sidecar.
    api_token: Option<String>,
    sidecar: Sidecar,
    groups: Mutex<Vec<Group>>,
}

/// A group of this process.
struct Group {
    topics: &'static [&'static str],
    deliveries: mpsc::Sender<Delivery>,
}

/// A message that the sidecar waits for.
pub(crate) struct Delivery {
    message: Message,
    done: oneshot::Sender<()>,
}

impl Dapr {
    pub(crate) fn open(settings: Settings) -> Result<Self, Error> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().map_err(Error::Dapr)?;
        let api_token = chassis::config::var("DAPR_API_TOKEN");
        Ok(Self { settings, http, api_token, sidecar: Sidecar::of_process(), groups: Mutex::new(Vec::new()) })
    }

    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        publish_in_order(messages, WIDTH, |message| self.send(message)).await
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let Settings { base, pubsub, prefix } = &self.settings;
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1.0", "publish", pubsub, &format!("{prefix}{}", message.topic)]);
        }
        url.query_pairs_mut().append_pair("metadata.partitionKey", &message.key);
        let envelope = Envelope::of(&message.payload);
        if envelope.is_none() {
            // Else the sidecar would wrap it into an event of its own.
            url.query_pairs_mut().append_pair("metadata.rawPayload", "true");
        }
        let kind = if envelope.is_some() { "application/cloudevents+json" } else { "application/json" };
        let mut request = self.http.post(url).header(CONTENT_TYPE, kind).body(message.payload);
        if let Some(traceparent) = envelope.and_then(|envelope| envelope.traceparent) {
            // The sidecar writes the trace of the request into the event, over what stands there.
            request = request.header("traceparent", traceparent);
        }
        if let Some(token) = &self.api_token {
            request = request.header(TOKEN, token);
        }
        let answer = request.send().await.map_err(|error| Error::Dapr(error.without_url()))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let (status, mut reason) = (answer.status(), answer.text().await.unwrap_or_default());
        reason.truncate(reason.char_indices().nth(200).map_or(reason.len(), |(end, _)| end));
        Err(Error::Refused { topic: message.topic, reason: format!("{status} {reason}") })
    }

    /// Tells the routes of a group.
    pub(crate) fn source(&self, topics: &'static [&'static str]) -> Source {
        let (deliveries, coming) = mpsc::channel(QUEUE);
        self.groups().push(Group { topics, deliveries });
        Source { coming: Arc::new(tokio::sync::Mutex::new(coming)) }
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Vec<Group>> {
        // A panic in here leaves the list whole, so poison means nothing.
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
    if !dapr.sidecar.asks(&headers, &extensions) {
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

/// Takes one message, and answers when its effect is durable.
async fn deliver(
    State(dapr): State<Arc<Dapr>>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
    payload: String,
) -> Response {
    // A page in a browser on this machine could send plain text, but no JSON, without being asked for leave.
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.contains("json")));
    if !is_json || !dapr.sidecar.asks(&headers, &extensions) {
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
    let mut waiting = Vec::new();
    for group in groups {
        let (done, answer) = oneshot::channel();
        let message = Message { topic: topic.clone(), key: key.clone(), payload: payload.clone() };
        // A group that has ended drops the sender, which the answer shows.
        let _ = group.send(Delivery { message, done }).await;
        waiting.push(answer);
    }
    let done = futures::future::join_all(waiting).await.iter().all(Result::is_ok);
    Json(json!({"status": if done { "SUCCESS" } else { "RETRY" }})).into_response()
}

/// What the routes bring for a group.
pub(crate) struct Source {
    coming: Arc<tokio::sync::Mutex<mpsc::Receiver<Delivery>>>,
}

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        Ok(Session { coming: Arc::clone(&self.coming).lock_owned().await, waiting: Vec::new() })
    }
}

/// Deliveries under way.
pub(crate) struct Session {
    coming: tokio::sync::OwnedMutexGuard<mpsc::Receiver<Delivery>>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl consumer::Session for Session {
    // The sidecar brings the next message of a partition after the answer to the one before, so waiting for
    // company would only slow it.
    const PACE: Duration = Duration::ZERO;

    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        let mut deliveries = Vec::new();
        if self.coming.recv_many(&mut deliveries, BATCH).await == 0 {
            return Err(Error::Stopped);
        }
        // A sidecar tells no place; what is no CloudEvent it makes one of, with an id of its own.
        let incoming = |message| Incoming { message, place: String::new() };
        let (messages, waiting) =
            deliveries.into_iter().map(|delivery| (incoming(delivery.message), delivery.done)).unzip();
        self.waiting = waiting;
        Ok(messages)
    }

    async fn done(&mut self) {
        for waiting in self.waiting.drain(..) {
            // The sidecar may have given up waiting; it brings the message again then.
            let _ = waiting.send(());
        }
    }

    async fn close(self) {}
}
