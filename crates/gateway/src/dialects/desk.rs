//! What a dialect asks the house: the gateway's own API, called within the process, by an identity made for the dialect.

use std::sync::Arc;

use auth::Role;
use axum::{
    Router,
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use bus::{Bus, Topology};
use chassis::{Context, Metrics, Problem, config::ConfigError};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::{proxy, state::Gateway, upstream::Upstream};

/// More than any answer of the house has.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// Most orders that are withdrawn at once.
const WITHDRAWALS: usize = 1_000;
/// Everything that has a meaning in a URI (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a dialect asks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    /// What the gateway's own handlers have.
    pub(crate) gateway: Gateway,
    /// A registry of this dialect alone, for names that mean something else in the gateway's. All its doors share it.
    pub(crate) own: Metrics,
    /// The gateway's surroundings.
    pub(crate) ctx: Context,
    /// Leave to withdraw an order that its client was told had failed.
    pub(crate) withdrawals: Arc<Semaphore>,
    dialect: &'static str,
    api: Router,
    /// The token of the user for whom all is asked; the dialect's own identity if none.
    user: Option<Arc<str>>,
}

/// A question on its way.
#[must_use = "nothing is asked before `send`"]
pub(crate) struct Ask<'a> {
    desk: &'a Desk,
    method: Method,
    uri: String,
    bearer: Option<&'a str>,
    headers: HeaderMap,
    to: Option<&'a Upstream>,
    body: Body,
}

/// What the house said: a status and JSON, `null` where it said nothing.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Desk {
    pub(crate) fn new(dialect: &'static str, gateway: Gateway, api: Router, ctx: &Context) -> Self {
        let withdrawals = Arc::new(Semaphore::new(WITHDRAWALS));
        Self { gateway, own: Metrics::new(), ctx: ctx.clone(), withdrawals, dialect, api, user: None }
    }

    /// The same for a user of the house: he may do what he may, and what he does is told as his.
    pub(crate) fn of_user(&self, token: &str) -> Self {
        Self { user: Some(token.into()), ..self.clone() }
    }

    /// The same by the dialect's own identity, which outlives every token of a user.
    pub(crate) fn of_dialect(&self) -> Self {
        Self { user: None, ..self.clone() }
    }

    /// A question, as head office, to the path of these segments.
    pub(crate) fn ask<'a>(&'a self, method: Method, segments: &[&str]) -> Ask<'a> {
        let uri = segments.iter().map(|segment| format!("/{}", encoded(segment))).collect();
        Ask { desk: self, method, uri, bearer: None, headers: HeaderMap::new(), to: None, body: Body::empty() }
    }

    pub(crate) fn get<'a>(&'a self, segments: &[&str]) -> Ask<'a> {
        self.ask(Method::GET, segments)
    }

    pub(crate) fn post<'a>(&'a self, segments: &[&str]) -> Ask<'a> {
        self.ask(Method::POST, segments)
    }

    pub(crate) fn put<'a>(&'a self, segments: &[&str]) -> Ask<'a> {
        self.ask(Method::PUT, segments)
    }

    pub(crate) fn patch<'a>(&'a self, segments: &[&str]) -> Ask<'a> {
        self.ask(Method::PATCH, segments)
    }

    pub(crate) fn delete<'a>(&'a self, segments: &[&str]) -> Ask<'a> {
        self.ask(Method::DELETE, segments)
    }

    /// A question to the product service's own language.
    pub(crate) fn graphql<'a>(&'a self, query: &str, variables: Value) -> Ask<'a> {
        self.post(&["graphql"]).json(serde_json::json!({"query": query, "variables": variables}))
    }

    /// Passes a request on to a service as it is, but for its path and who asks.
    pub(crate) async fn pass(&self, service: &Upstream, path: &'static str, mut request: Request<Body>) -> Response {
        let token = match self.token(Role::Admin) {
            Ok(token) => token,
            Err(problem) => return problem.into_response(),
        };
        *request.uri_mut() = Uri::from_static(path);
        let headers = request.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
            headers.insert(header::AUTHORIZATION, value);
        }
        proxy::pass(&self.gateway.http, service, self.gateway.config.timeout(service.name), request).await
    }

    /// The bus of the other services, with what the dialect hears and tells there.
    pub(crate) async fn bus(&self, ctx: &Context, topology: Topology) -> anyhow::Result<Bus> {
        let url = &self.gateway.config.dialects_bus;
        if url.is_empty() {
            let name = self.dialect;
            return Err(ConfigError::new(format!(
                "dialects_bus is none, but the dialect {name} translates events: SOUK_DIALECTS_BUS is to say what \
                 SOUK_BUS_URL says to the other services"
            ))
            .into());
        }
        Ok(Bus::open_with(url, ctx, topology).await?)
    }

    /// A token for a call of this dialect that goes past the API, as gRPC does.
    pub(crate) fn token(&self, role: Role) -> Result<String, Problem> {
        let act = format!("dialect:{}", self.dialect);
        self.gateway.key.mint_as(&act, role).map_err(Problem::internal)
    }
}

impl<'a> Ask<'a> {
    /// Adds a parameter to the query.
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        let sign = if self.uri.contains('?') { '&' } else { '?' };
        self.uri += &format!("{sign}{name}={}", encoded(&value.to_string()));
        self
    }

    /// Adds a parameter that is said.
    pub(crate) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sends this as JSON.
    pub(crate) fn json(mut self, body: impl Serialize) -> Self {
        // What dialects send are values, which always serialise.
        self.body = Body::from(serde_json::to_vec(&body).unwrap_or_default());
        self.header(header::CONTENT_TYPE, "application/json")
    }

    /// Sends these bytes as they are.
    pub(crate) fn bytes(mut self, kind: &str, body: Bytes) -> Self {
        self.body = Body::from(body);
        self.header(header::CONTENT_TYPE, kind)
    }

    /// Adds a header; one that cannot be is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Asks a service itself, for what its own port offers and the API does not.
    pub(crate) fn of(mut self, service: &'a Upstream) -> Self {
        self.to = Some(service);
        self
    }

    /// The same key never does it twice.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header(HeaderName::from_static("idempotency-key"), key)
    }

    /// Does not wait for the end of what is begun.
    pub(crate) fn at_once(self) -> Self {
        self.header(HeaderName::from_static("prefer"), "respond-async")
    }

    /// Asks by the client's own token.
    pub(crate) fn bearer(mut self, token: &'a str) -> Self {
        self.bearer = Some(token);
        self
    }

    /// Asks. What keeps the house from answering is an answer too: 502, 503, 504.
    pub(crate) async fn send(self) -> Answer {
        match self.try_send().await {
            Ok(answer) => answer,
            Err(problem) => {
                tracing::warn!(error = %problem, "a dialect's question came to nothing");
                Answer { status: problem.kind().status(), body: serde_json::json!({"detail": problem.detail()}) }
            }
        }
    }

    async fn try_send(self) -> Result<Answer, Problem> {
        let token = match self.bearer.or(self.desk.user.as_deref()) {
            Some(token) => token.to_owned(),
            None => self.desk.token(Role::Admin)?,
        };
        let asked = self.header(header::AUTHORIZATION, &format!("Bearer {token}"));
        let mut request =
            Request::builder().method(asked.method).uri(&asked.uri).body(asked.body).map_err(Problem::internal)?;
        *request.headers_mut() = asked.headers;
        let gateway = &asked.desk.gateway;
        let answer: Response = match asked.to {
            Some(service) => proxy::pass(&gateway.http, service, gateway.config.timeout(service.name), request).await,
            None => match asked.desk.api.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
        };
        let status = answer.status();
        let bytes =
            Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await.map_err(Problem::internal)?.to_bytes();
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }
}

impl Answer {
    /// The value of a success.
    pub(crate) fn ok(self) -> Result<Value, Self> {
        if self.status.is_success() { Ok(self.body) } else { Err(self) }
    }

    /// Whether nobody answered who knows; asked again, somebody may.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
    }

    /// Whether there is no such thing.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The sentence of a refusal.
    pub(crate) fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// The fields that a refusal names, with what is allowed.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| Some((error["field"].as_str()?, error["message"].as_str().unwrap_or_default())))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Desk {
        /// One that asks this house instead of the gateway's own routes.
        pub(crate) fn of_house(api: Router, config: crate::Config) -> Self {
            let internal_key = auth::InternalKey::generate().expect("a key").to_secret();
            let gateway =
                Gateway::new(crate::Config { auth: auth::AuthConfig { internal_key, ..config.auth }, ..config })
                    .expect("a gateway");
            Self::new("test", gateway, api, &Context::new("gateway", "1", Default::default(), Default::default()))
        }
    }

    #[test]
    fn what_stands_in_a_path_or_query_cannot_leave_its_place() {
        assert_eq!(encoded("../users?x=1&y#z"), "..%2Fusers%3Fx%3D1%26y%23z");
        assert_eq!(encoded("a-b_c.d~e"), "a-b_c.d~e");
    }
}
