//! Calls to another service: bounded in time, and spared while it does not answer.

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

use crate::{Metrics, deadline, trace};

/// Calls in a row that fail before a neighbour is spared.
const FAILURES: u32 = 5;
/// How long it is spared at first, and at most; then calls find out.
const SPARED: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

/// Another service, as one service calls it: a circuit breaker
/// (<https://martinfowler.com/bliki/CircuitBreaker.html>) and a time-out. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    name: &'static str,
    timeout: Duration,
    breaker: StateMachine<ConsecutiveFailures<Exponential>, Tell>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// It failed often just now and is spared for a moment; nothing was sent.
    #[error("the {0} service does not answer and is spared for a moment")]
    CircuitOpen(&'static str),
    /// It did not answer in time.
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
    /// A neighbour that has at most so long for an answer.
    pub fn new(name: &'static str, timeout: Duration, metrics: &Metrics) -> Self {
        let spared =
            metrics.gauge("neighbour_spared", "1 while a neighbour that does not answer is spared.", &["neighbour"]);
        let tell = Tell { name, spared: spared.with_label_values(&[name]) };
        let policy = failure_policy::consecutive_failures(FAILURES, backoff::exponential(SPARED, LONGEST));
        Self { name, timeout, breaker: StateMachine::new(policy, tell) }
    }

    /// How long a call may take now: its time-out, or what is left of the caller's time.
    pub fn timeout(&self) -> Duration {
        deadline::within(self.timeout)
    }

    /// The headers of an HTTP call: its trace, and how long we wait.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        trace::inject(&mut headers);
        deadline::inject(&mut headers, self.timeout());
        headers
    }

    /// Sends an HTTP request with [`Self::headers`]. Whoever answers that he cannot now (5xx) is as good as silent.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, CallError<reqwest::Error>> {
        let request = request.headers(self.headers());
        let call = async {
            let answer = request.send().await?;
            if answer.status().is_server_error() { answer.error_for_status() } else { Ok(answer) }
        };
        self.call(|_| true, call).await
    }

    /// Makes a call. `is_away` tells of an error whether the neighbour did not answer, which counts against it; an answer
    /// that refuses does not.
    pub async fn call<T, E>(
        &self,
        is_away: impl FnOnce(&E) -> bool,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        if !self.breaker.is_call_permitted() {
            return Err(CallError::CircuitOpen(self.name));
        }
        match tokio::time::timeout(self.timeout(), call).await {
            Ok(Ok(answer)) => {
                self.breaker.on_success();
                Ok(answer)
            }
            Ok(Err(error)) => {
                if is_away(&error) {
                    self.breaker.on_error()
                } else {
                    self.breaker.on_success()
                }
                Err(CallError::Failed(error))
            }
            Err(_) => {
                // Who is called with little time left is not to blame.
                if deadline::left().is_none_or(|left| !left.is_zero()) {
                    self.breaker.on_error();
                }
                Err(CallError::Late(self.name))
            }
        }
    }
}

/// A refusal in a peer's own words: the problem document of its answer (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// The code that programs compare, such as `order.not_found`; empty if the peer sends none.
    #[serde(default)]
    pub code: String,
    /// The sentence for people.
    pub detail: String,
}

impl Refusal {
    /// Reads the answer. `None` if it is no problem document: then something other than the service answered, and its 404 is
    /// about a path.
    pub async fn of(answer: Response) -> Option<Self> {
        let kind = answer.headers().get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
        if !kind.trim().eq_ignore_ascii_case("application/problem+json") {
            return None;
        }
        answer.json().await.ok()
    }
}

/// Tells of a breaker's changes, once each.
struct Tell {
    name: &'static str,
    spared: IntGauge,
}

impl Instrument for Tell {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        if self.spared.get() == 0 {
            tracing::warn!(neighbour = self.name, "does not answer and is spared");
        }
        self.spared.set(1);
    }

    fn on_half_open(&self) {}

    fn on_closed(&self) {
        if self.spared.get() == 1 {
            tracing::info!(neighbour = self.name, "answers again");
        }
        self.spared.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fails(neighbour: &Peer, away: bool) -> bool {
        matches!(neighbour.call(|_: &()| away, async { Err::<(), ()>(()) }).await, Err(CallError::CircuitOpen(_)))
    }

    #[tokio::test]
    async fn who_does_not_answer_is_spared_and_asked_again_later() {
        let neighbour = Peer::new("stock", Duration::from_secs(1), &Metrics::new());
        for _ in 0..FAILURES {
            assert!(!fails(&neighbour, true).await);
        }
        assert!(fails(&neighbour, true).await, "it is spared");
        tokio::time::sleep(SPARED * 2).await;
        assert!(neighbour.call(|_: &()| true, async { Ok(7) }).await.is_ok_and(|seven| seven == 7));
        assert!(!fails(&neighbour, true).await, "it answers again, so one failure is forgiven");
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let neighbour = Peer::new("stock", Duration::from_secs(1), &Metrics::new());
        for _ in 0..3 * FAILURES {
            assert!(!fails(&neighbour, false).await);
        }
    }

    #[tokio::test]
    async fn a_call_has_its_time() {
        let neighbour = Peer::new("stock", Duration::from_millis(20), &Metrics::new());
        let never = neighbour.call(|_: &()| true, std::future::pending::<Result<(), ()>>()).await;
        assert!(matches!(never, Err(CallError::Late("stock"))));
    }

    /// A server that answers everything with this.
    async fn server(status: u16, kind: &'static str, body: &'static str) -> anyhow::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let status = http::StatusCode::from_u16(status)?;
        let app = axum::Router::new().fallback(move || async move { (status, [(CONTENT_TYPE, kind)], body) });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(url)
    }

    #[tokio::test]
    async fn only_a_problem_document_is_a_neighbours_own_word() -> anyhow::Result<()> {
        let neighbour = Peer::new("order", Duration::from_secs(1), &Metrics::new());
        let http = reqwest::Client::new();
        let body = r#"{"detail":"There is no such order."}"#;
        for (kind, body, said) in [
            ("application/problem+json", body, Some("There is no such order.")),
            ("Application/Problem+JSON; charset=utf-8", body, Some("There is no such order.")),
            ("application/json", body, None),
            ("text/html", "<h1>404</h1>", None),
            ("application/problem+json", "{", None),
        ] {
            let answer = neighbour.send(http.get(server(404, kind, body).await?)).await?;
            assert_eq!(Refusal::of(answer).await.map(|refusal| refusal.detail).as_deref(), said, "{kind}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn who_answers_that_he_cannot_now_is_as_good_as_silent() -> anyhow::Result<()> {
        let neighbour = Peer::new("order", Duration::from_secs(1), &Metrics::new());
        let (http, url) = (reqwest::Client::new(), server(503, "application/problem+json", "{}").await?);
        for _ in 0..FAILURES {
            assert!(matches!(neighbour.send(http.get(&url)).await, Err(CallError::Failed(_))));
        }
        assert!(matches!(neighbour.send(http.get(&url)).await, Err(CallError::CircuitOpen("order"))));
        Ok(())
    }
}
