//! Calls to the REST API of a peer service: URL, token, circuit breaker, and refusals distinguished by their code.

use std::time::Duration;

use auth::InternalKey;
use chassis::{CallError, Context, Peer, Refusal};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

/// The REST API of a peer service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RestPeer {
    name: &'static str,
    http: Client,
    url: String,
    key: Option<InternalKey>,
    peer: Peer,
}

/// Why a call brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The peer did not answer.
    #[error("the {0} service did not answer")]
    Call(&'static str, #[source] CallError<reqwest::Error>),
    /// The peer answered with another status than the call allows.
    #[error("the {name} service answered {status}")]
    Status {
        /// Its name.
        name: &'static str,
        /// What it answered.
        status: StatusCode,
    },
    /// The answer cannot be read.
    #[error("the answer of the {0} service cannot be read")]
    Body(&'static str, #[source] reqwest::Error),
    /// No internal token could be made.
    #[error("no internal token")]
    Token(#[from] auth::AuthError),
}

impl PeerError {
    /// Whether the peer answered, though not as expected, so that a smaller request may succeed at once.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Call(_, CallError::Failed(error)) => error.is_status(),
            Self::Call(..) | Self::Token(_) => false,
            Self::Status { .. } => true,
            Self::Body(_, error) => !error.is_timeout(),
        }
    }

    /// The peer's name.
    pub fn peer(&self) -> Option<&'static str> {
        match self {
            Self::Call(name, _) | Self::Status { name, .. } | Self::Body(name, _) => Some(name),
            Self::Token(_) => None,
        }
    }
}

impl RestPeer {
    /// The service `name` at `url`, with `timeout` for each call. Calls carry no token of their own.
    pub fn new(name: &'static str, url: &str, timeout: Duration, ctx: &Context) -> anyhow::Result<Self> {
        let http = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_idle_timeout(chassis::CALLER_IDLE)
            .no_proxy()
            .build()?;
        let peer = Peer::new(name, timeout, &ctx.metrics).over(&ctx.network);
        Ok(Self { name, http, url: url.trim_end_matches('/').to_owned(), key: None, peer })
    }

    /// Calls carry a token of the calling service, signed with the fleet's key.
    pub fn with_key(mut self, key: InternalKey) -> Self {
        self.key = Some(key);
        self
    }

    /// A GET of `path`, which begins with a slash.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// A POST to `path`, which begins with a slash.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// Sends a request. Any status below 500 is an answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, PeerError> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.mint(key.service())?),
            None => request,
        };
        self.peer.send(request).await.map_err(|error| PeerError::Call(self.name, error))
    }

    /// Sends a request whose only answer is a success with this body.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, PeerError> {
        let answer = self.send(request).await?;
        self.body(answer).await
    }

    /// Asks for one resource. `None` only if the service itself says so by the problem code `not_found`: a 404 from
    /// anything in between (a proxy, an ingress without a route) is an error, since callers give back goods and money by this answer.
    pub async fn find<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        not_found: &str,
    ) -> Result<Option<T>, PeerError> {
        let answer = self.send(request).await?;
        let status = answer.status();
        if status != StatusCode::NOT_FOUND {
            return self.body(answer).await.map(Some);
        }
        match Refusal::of(answer).await {
            Some(refusal) if refusal.code == not_found || is_older_not_found(&refusal, not_found) => Ok(None),
            _ => Err(PeerError::Status { name: self.name, status }),
        }
    }

    async fn body<T: DeserializeOwned>(&self, answer: Response) -> Result<T, PeerError> {
        let status = answer.status();
        if !status.is_success() {
            return Err(PeerError::Status { name: self.name, status });
        }
        // The deadline of the request covers the body too.
        match tokio::time::timeout(self.peer.timeout(), answer.json()).await {
            Ok(body) => body.map_err(|error| PeerError::Body(self.name, error)),
            Err(_) => Err(PeerError::Call(self.name, CallError::Late(self.name))),
        }
    }
}

/// Whether a peer of a version before the problem codes says that there is no such resource. During a rolling upgrade, both versions
/// answer; remove this one release after 0.1.0.
fn is_older_not_found(refusal: &Refusal, not_found: &str) -> bool {
    let thing = not_found.trim_end_matches(".not_found");
    refusal.code.is_empty() && refusal.detail == format!("There is no such {thing}.")
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::header::CONTENT_TYPE};
    use chassis::CrashPoints;
    use serde_json::{Value, json};

    use super::*;

    async fn peer(status: u16, kind: &'static str, body: Value) -> anyhow::Result<RestPeer> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let status = StatusCode::from_u16(status)?;
        let app = Router::new().fallback(move || async move { (status, [(CONTENT_TYPE, kind)], body.to_string()) });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let ctx = Context::new("stock", "test", Default::default(), CrashPoints::none());
        RestPeer::new("order", &url, Duration::from_secs(1), &ctx)
    }

    #[tokio::test]
    async fn only_the_services_own_code_says_that_there_is_none() -> anyhow::Result<()> {
        const PROBLEM: &str = "application/problem+json";
        for (status, kind, body, none) in [
            (404, PROBLEM, json!({"code": "order.not_found", "detail": "No."}), true),
            (404, PROBLEM, json!({"detail": "There is no such order."}), true),
            (404, PROBLEM, json!({"detail": "There is nothing at this path."}), false),
            (404, PROBLEM, json!({"code": "not_found", "detail": "There is nothing at this path."}), false),
            (404, "application/json", json!({"code": "order.not_found", "detail": "No."}), false),
            (404, "text/html", json!("<h1>404</h1>"), false),
            (403, PROBLEM, json!({"code": "order.not_found", "detail": "No."}), false),
        ] {
            let peer = peer(status, kind, body.clone()).await?;
            let found = peer.find::<Value>(peer.get("/api/orders/o"), "order.not_found").await;
            assert_eq!(matches!(found, Ok(None)), none, "{status} {kind} {body}");
            assert!(none || found.is_err(), "{status} {kind} {body}");
        }
        let peer = peer(200, "application/json", json!({"status": "confirmed"})).await?;
        let found = peer.find::<Value>(peer.get("/api/orders/o"), "order.not_found").await?;
        assert_eq!(found, Some(json!({"status": "confirmed"})));
        Ok(())
    }
}
