//! A client of the services, and what it was told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use auth::{InternalKey, Role};
use axum::body::Body;
use bytes::Bytes;
use chassis::Transport as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::{network::Wire, random::Random};

/// How long a client waits for a response.
const PATIENCE: Duration = Duration::from_secs(8);

/// Attempts of a call whose outcome a client wants to know.
pub const ATTEMPTS: usize = 12;

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its body as it was sent.
    pub bytes: Bytes,
    /// Its body as JSON.
    pub json: Value,
}

/// What a client knows of its order.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The order's id.
    pub id: Option<String>,
    /// The first final response to the order.
    pub first: Option<(u16, Bytes)>,
    /// Whether it was told that the order is confirmed.
    pub confirmed: bool,
    /// Whether it has asked to undo the order, or allowed that.
    pub undoes: bool,
    /// Whether it was told that the order is cancelled.
    pub cancelled: bool,
    /// Returns that it was told of.
    pub returns: Vec<String>,
}

/// What all clients were told, by the number of the order; and where a service contradicted itself.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    told: BTreeMap<u64, Told>,
    contradictions: Vec<String>,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something about an order.
    pub fn note(&self, order: u64, change: impl FnOnce(&mut Told)) {
        change(self.lock().told.entry(order).or_default());
    }

    /// What is known of an order.
    pub fn told(&self, order: u64) -> Told {
        self.lock().told.get(&order).cloned().unwrap_or_default()
    }

    /// All orders.
    pub fn all(&self) -> Vec<(u64, Told)> {
        self.lock().told.iter().map(|(order, told)| (*order, told.clone())).collect()
    }

    /// Notes a contradiction.
    pub fn contradiction(&self, what: String) {
        self.lock().contradictions.push(what);
    }

    /// All contradictions.
    pub fn contradictions(&self) -> Vec<String> {
        self.lock().contradictions.clone()
    }
}

/// A client with the rights of head office.
#[derive(Clone)]
pub struct Client {
    /// Its access to the network.
    pub wire: Wire,
    /// The key of the fleet, since logins are not part of the simulation.
    pub key: InternalKey,
}

impl Client {
    /// Calls a service; `None` if it does not answer in time.
    pub async fn call(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Option<Response> {
        let token = self.key.mint_as("head-office", Role::Admin).ok()?;
        let mut request =
            http::Request::builder().method(method).uri(url).header(AUTHORIZATION, format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let sent = self.wire.call(request.body(body).ok()?);
        let response = tokio::time::timeout(PATIENCE, sent).await.ok()?.ok()?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        Some(Response { status, bytes, json })
    }

    /// Calls until there is an answer.
    pub async fn insist(
        &self,
        random: &mut Random,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Option<Response> {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = self.call(method, url, headers, body).await
                && answer.status < 500
            {
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(random.between(50, 2_500))).await;
        }
        None
    }
}
