//! Calls to peer services, with a time-out and a circuit breaker.

use std::{fmt, future::Future, time::Duration};

use failsafe::{
    Instrument, StateMachine,
    backoff::{self, Exponential},
    failure_policy::{self, ConsecutiveFailures},
};
use http::{HeaderMap, header::CONTENT_TYPE};
use prometheus::IntGauge;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;

use crate::{Metrics, Network, deadline, trace};

/// Consecutive failures after which the circuit opens.
const FAILURES: u32 = 5;
/// How long the circuit stays open at first, and at most; then the next call probes the peer.
const SHORTEST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(5);

/// The client side of another service: a time-out and a circuit breaker
/// (<https://martinfowler.com/bliki/CircuitBreaker.html>). Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    name: &'static str,
    timeout: Duration,
    network: Network,
    breaker: StateMachine<ConsecutiveFailures<Exponential>, BreakerObserver>,
}

/// Why a call has no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// The circuit is open after repeated failures; nothing was sent.
    #[error("the {0} service failed repeatedly; calls to it are suspended for a few seconds")]
    CircuitOpen(&'static str),
    /// The peer did not respond in time.
    #[error("the {0} service did not answer in time")]
    Late(&'static str),
    /// The call failed.
    #[error(transparent)]
    Failed(E),
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Peer {
    /// A peer that must respond within `timeout`.
    pub fn new(name: &'static str, timeout: Duration, metrics: &Metrics) -> Self {
        let open = metrics.gauge("neighbour_spared", "1 while the circuit to a peer service is open.", &["neighbour"]);
        let observer = BreakerObserver { name, open: open.with_label_values(&[name]) };
        let policy = failure_policy::consecutive_failures(FAILURES, backoff::exponential(SHORTEST_OPEN, LONGEST_OPEN));
        Self { name, timeout, network: Network::default(), breaker: StateMachine::new(policy, observer) }
    }

    /// The same peer, reached by this network.
    pub fn over(self, network: &Network) -> Self {
        Self { network: network.clone(), ..self }
    }

    /// How long a call may take now: the peer's time-out, or the time that remains for the current request if that is shorter.
    pub fn timeout(&self) -> Duration {
        deadline::within(self.timeout)
    }

    /// The headers of an HTTP call: its trace and its deadline.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        trace::inject(&mut headers);
        deadline::inject(&mut headers, self.timeout());
        headers
    }

    /// Sends an HTTP request with [`Self::headers`]. A 5xx response is an error; 502, 503 and 504 count as a failure of the peer, as
    /// silence does. Any other, such as a 500, may concern this request only.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, CallError<reqwest::Error>> {
        let request = request.headers(self.headers());
        let call = async {
            let response = self.network.send(request).await?;
            if response.status().is_server_error() { response.error_for_status() } else { Ok(response) }
        };
        let is_failure =
            |error: &reqwest::Error| error.status().is_none_or(|status| matches!(status.as_u16(), 502..=504));
        self.call(is_failure, call).await
    }

    /// Makes a call. `is_failure` returns whether an error is a failure of the peer, which counts for the circuit breaker; a
    /// refusal does not.
    pub async fn call<T, E>(
        &self,
        is_failure: impl FnOnce(&E) -> bool,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        if !self.breaker.is_call_permitted() {
            return Err(CallError::CircuitOpen(self.name));
        }
        match tokio::time::timeout(self.timeout(), call).await {
            Ok(Ok(response)) => {
                self.breaker.on_success();
                Ok(response)
            }
            Ok(Err(error)) => {
                if is_failure(&error) {
                    self.breaker.on_error()
                } else {
                    self.breaker.on_success()
                }
                Err(CallError::Failed(error))
            }
            Err(_) => {
                // A peer that was called with little time left is not at fault.
                if deadline::left().is_none_or(|left| !left.is_zero()) {
                    self.breaker.on_error();
                }
                Err(CallError::Late(self.name))
            }
        }
    }
}

/// The problem document (RFC 9457) with which a peer refused a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// The code that programs compare, such as `thing.not_found`; empty if the peer sends none.
    #[serde(default)]
    pub code: String,
    /// The sentence for people.
    pub detail: String,
}

impl Refusal {
    /// Reads a response. `None` if it is not a problem document: then something other than the service responded, such as a
    /// proxy, and a 404 is about the path and not about the resource.
    pub async fn of(response: Response) -> Option<Self> {
        let kind = response.headers().get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
        if !kind.trim().eq_ignore_ascii_case("application/problem+json") {
            return None;
        }
        response.json().await.ok()
    }
}

/// Logs each change of a circuit breaker once and sets its gauge.
struct BreakerObserver {
    name: &'static str,
    open: IntGauge,
}

impl Instrument for BreakerObserver {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        if self.open.get() == 0 {
            tracing::warn!(peer = self.name, "peer failed repeatedly; its circuit is open");
        }
        self.open.set(1);
    }

    fn on_half_open(&self) {}

    fn on_closed(&self) {
        if self.open.get() == 1 {
            tracing::info!(peer = self.name, "peer responds again; its circuit is closed");
        }
        self.open.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_refused_by_open_circuit(peer: &Peer, failure: bool) -> bool {
        matches!(peer.call(|_: &()| failure, async { Err::<(), ()>(()) }).await, Err(CallError::CircuitOpen(_)))
    }

    #[tokio::test]
    async fn a_circuit_opens_after_failures_and_closes_after_a_success() {
        let peer = Peer::new("stock", Duration::from_secs(1), &Metrics::new());
        for _ in 0..FAILURES {
            assert!(!is_refused_by_open_circuit(&peer, true).await);
        }
        assert!(is_refused_by_open_circuit(&peer, true).await, "its circuit is open");
        tokio::time::sleep(SHORTEST_OPEN * 2).await;
        assert!(peer.call(|_: &()| true, async { Ok(7) }).await.is_ok_and(|seven| seven == 7));
        assert!(
            !is_refused_by_open_circuit(&peer, true).await,
            "it responds again, so one failure does not open the circuit"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_no_failure_of_the_peer() {
        let peer = Peer::new("stock", Duration::from_secs(1), &Metrics::new());
        for _ in 0..3 * FAILURES {
            assert!(!is_refused_by_open_circuit(&peer, false).await);
        }
    }

    #[tokio::test]
    async fn a_call_ends_with_its_timeout() {
        let peer = Peer::new("stock", Duration::from_millis(20), &Metrics::new());
        let never = peer.call(|_: &()| true, std::future::pending::<Result<(), ()>>()).await;
        assert!(matches!(never, Err(CallError::Late("stock"))));
    }

    /// A server that sends this response to every request.
    async fn server(status: u16, kind: &'static str, body: &'static str) -> anyhow::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let status = http::StatusCode::from_u16(status)?;
        let app = axum::Router::new().fallback(move || async move { (status, [(CONTENT_TYPE, kind)], body) });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(url)
    }

    #[tokio::test]
    async fn only_a_problem_document_is_a_refusal_by_the_peer() -> anyhow::Result<()> {
        let peer = Peer::new("order", Duration::from_secs(1), &Metrics::new());
        let http = reqwest::Client::new();
        let body = r#"{"detail":"There is no such order."}"#;
        for (kind, body, detail) in [
            ("application/problem+json", body, Some("There is no such order.")),
            ("Application/Problem+JSON; charset=utf-8", body, Some("There is no such order.")),
            ("application/json", body, None),
            ("text/html", "<h1>404</h1>", None),
            ("application/problem+json", "{", None),
        ] {
            let answer = peer.send(http.get(server(404, kind, body).await?)).await?;
            assert_eq!(Refusal::of(answer).await.map(|refusal| refusal.detail).as_deref(), detail, "{kind}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_peer_that_is_unavailable_opens_the_circuit_and_one_with_a_defect_does_not() -> anyhow::Result<()> {
        let peer = Peer::new("order", Duration::from_secs(1), &Metrics::new());
        let (http, url) = (reqwest::Client::new(), server(503, "application/problem+json", "{}").await?);
        for _ in 0..FAILURES {
            assert!(matches!(peer.send(http.get(&url)).await, Err(CallError::Failed(_))));
        }
        assert!(matches!(peer.send(http.get(&url)).await, Err(CallError::CircuitOpen("order"))));

        let peer = Peer::new("order", Duration::from_secs(1), &Metrics::new());
        let url = server(500, "application/problem+json", "{}").await?;
        for _ in 0..=FAILURES {
            assert!(matches!(peer.send(http.get(&url)).await, Err(CallError::Failed(_))));
        }
        Ok(())
    }
}
