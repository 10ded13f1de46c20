//! The client of the dialects for the public API. It calls the gateway's own router in the process, under a service identity of the
//! dialect.

use std::sync::Arc;

use auth::Role;
use axum::{
    Router,
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use bus::{Bus, Topology};
use chassis::{Context, Kind, Metrics, Problem, config::ConfigError};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt;

use crate::{proxy, state::Gateway, upstream::Upstream};

/// Largest response body in bytes; no response of the API reaches it.
const RESPONSE_LIMIT: usize = 16 * 1024 * 1024;
/// Everything that has a meaning in a URI (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of the public API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ApiClient {
    /// The state of the gateway.
    pub(crate) gateway: Gateway,
    /// A metrics registry for this dialect alone, since some names have other labels in the gateway's. All ports of the dialect share it.
    pub(crate) own: Metrics,
    /// The context of the gateway process.
    pub(crate) ctx: Context,
    dialect: &'static str,
    /// The routes of the public API.
    routes: Router,
    /// The user's token for all requests; without one the dialect's own identity is used.
    user: Option<Arc<str>>,
}

/// A request to the API that is being built.
#[must_use = "nothing is sent before `send`"]
pub(crate) struct ApiRequest<'a> {
    client: &'a ApiClient,
    method: Method,
    uri: String,
    bearer: Option<&'a str>,
    headers: HeaderMap,
    to: Option<&'a Upstream>,
    body: Body,
}

/// A response of the API: its status and JSON body, `null` without a JSON body.
#[derive(Debug)]
pub(crate) struct ApiResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl ApiClient {
    pub(crate) fn new(dialect: &'static str, gateway: Gateway, routes: Router, ctx: &Context) -> Self {
        Self { gateway, own: Metrics::new(), ctx: ctx.clone(), dialect, routes, user: None }
    }

    /// The same client with a user's token: the user's permissions apply, and audits name the user.
    pub(crate) fn of_user(&self, token: &str) -> Self {
        Self { user: Some(token.into()), ..self.clone() }
    }

    /// The same client under the dialect's own identity, which does not expire as a user's token does.
    pub(crate) fn of_dialect(&self) -> Self {
        Self { user: None, ..self.clone() }
    }

    /// A request to the path of these segments, with the role admin.
    pub(crate) fn request<'a>(&'a self, method: Method, segments: &[&str]) -> ApiRequest<'a> {
        let uri = segments.iter().map(|segment| format!("/{}", encoded(segment))).collect();
        ApiRequest { client: self, method, uri, bearer: None, headers: HeaderMap::new(), to: None, body: Body::empty() }
    }

    pub(crate) fn get<'a>(&'a self, segments: &[&str]) -> ApiRequest<'a> {
        self.request(Method::GET, segments)
    }

    pub(crate) fn post<'a>(&'a self, segments: &[&str]) -> ApiRequest<'a> {
        self.request(Method::POST, segments)
    }

    pub(crate) fn put<'a>(&'a self, segments: &[&str]) -> ApiRequest<'a> {
        self.request(Method::PUT, segments)
    }

    pub(crate) fn patch<'a>(&'a self, segments: &[&str]) -> ApiRequest<'a> {
        self.request(Method::PATCH, segments)
    }

    pub(crate) fn delete<'a>(&'a self, segments: &[&str]) -> ApiRequest<'a> {
        self.request(Method::DELETE, segments)
    }

    /// A GraphQL request to the product service.
    pub(crate) fn graphql<'a>(&'a self, query: &str, variables: Value) -> ApiRequest<'a> {
        self.post(&["graphql"]).json(serde_json::json!({"query": query, "variables": variables}))
    }

    /// Forwards a request to a service, with its path and query, and the dialect's token.
    pub(crate) async fn pass(&self, service: &Upstream, mut request: Request<Body>) -> Response {
        let token = match self.token(Role::Admin) {
            Ok(token) => token,
            Err(problem) => return problem.into_response(),
        };
        let headers = request.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
            headers.insert(header::AUTHORIZATION, value);
        }
        proxy::pass(&self.gateway.http, service, self.gateway.config.timeout(service.name), request).await
    }

    /// Opens the bus of the other services, with the topics of the dialect.
    pub(crate) async fn bus(&self, ctx: &Context, topology: Topology) -> anyhow::Result<Bus> {
        let url = &self.gateway.config.dialects_bus;
        if url.is_empty() {
            let name = self.dialect;
            return Err(ConfigError::new(format!(
                "dialects_bus is empty, but the dialect {name} translates events: set SOUK_DIALECTS_BUS to the value that \
                 SOUK_BUS_URL has in the other services"
            ))
            .into());
        }
        Ok(Bus::open_with(url, ctx, topology).await?)
    }

    /// A token for calls of this dialect that do not use the public API, such as gRPC.
    pub(crate) fn token(&self, role: Role) -> Result<String, Problem> {
        let act = format!("dialect:{}", self.dialect);
        self.gateway.key.mint_as(&act, role).map_err(Problem::internal)
    }
}

impl<'a> ApiRequest<'a> {
    /// Adds a parameter to the query.
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        let sign = if self.uri.contains('?') { '&' } else { '?' };
        self.uri += &format!("{sign}{name}={}", encoded(&value.to_string()));
        self
    }

    /// Adds a parameter if there is a value.
    pub(crate) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets a JSON body.
    pub(crate) fn json(mut self, body: impl Serialize) -> Self {
        // Dialects send plain structs and values, which always serialise.
        self.body = Body::from(serde_json::to_vec(&body).unwrap_or_default());
        self.header(header::CONTENT_TYPE, "application/json")
    }

    /// Sets the body and its content type.
    pub(crate) fn bytes(mut self, kind: &str, body: Bytes) -> Self {
        self.body = Body::from(body);
        self.header(header::CONTENT_TYPE, kind)
    }

    /// Adds a header; an invalid value is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sends the request to a service's own port, for routes that the API does not have.
    pub(crate) fn to(mut self, service: &'a Upstream) -> Self {
        self.to = Some(service);
        self
    }

    /// Sets the idempotency key.
    pub(crate) fn idempotency_key(self, key: &str) -> Self {
        self.header(HeaderName::from_static("idempotency-key"), key)
    }

    /// Asks for a response before the operation has finished.
    pub(crate) fn respond_async(self) -> Self {
        self.header(HeaderName::from_static("prefer"), "respond-async")
    }

    /// Sends this token instead of the dialect's own.
    pub(crate) fn bearer(mut self, token: &'a str) -> Self {
        self.bearer = Some(token);
        self
    }

    /// Sends the request. A failure to get a response becomes a response with status 502, 503 or 504.
    pub(crate) async fn send(self) -> ApiResponse {
        match self.try_send().await {
            Ok(response) => response,
            Err(problem) => {
                tracing::warn!(error = %problem, "a request of a dialect failed");
                ApiResponse { status: problem.kind().status(), body: Value::Object(problem.members()) }
            }
        }
    }

    async fn try_send(self) -> Result<ApiResponse, Problem> {
        let token = match self.bearer.or(self.client.user.as_deref()) {
            Some(token) => token.to_owned(),
            None => self.client.token(Role::Admin)?,
        };
        let Self { client, method, uri, headers, to, body, .. } =
            self.header(header::AUTHORIZATION, &format!("Bearer {token}"));
        let mut request = Request::builder().method(method).uri(&uri).body(body).map_err(Problem::internal)?;
        *request.headers_mut() = headers;
        let gateway = &client.gateway;
        let response: Response = match to {
            Some(service) => proxy::pass(&gateway.http, service, gateway.config.timeout(service.name), request).await,
            None => match client.routes.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        let status = response.status();
        let bytes =
            Limited::new(response.into_body(), RESPONSE_LIMIT).collect().await.map_err(Problem::internal)?.to_bytes();
        Ok(ApiResponse { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }
}

impl ApiResponse {
    /// A problem that the API did not send itself.
    pub(crate) fn refusal(status: StatusCode, detail: &str) -> Self {
        Self { status, body: serde_json::json!({ "detail": detail }) }
    }

    /// The body of a success. A body of another shape is a failure of the service (502).
    pub(crate) fn ok<T: DeserializeOwned>(self) -> Result<T, Self> {
        self.check().and_then(|success| {
            serde_json::from_value(success.body).map_err(|error| {
                tracing::error!(%error, "a response of the API has an unknown shape");
                let problem = Problem::new(Kind::BadGateway, "The API answered in an unknown shape.");
                Self { status: StatusCode::BAD_GATEWAY, body: Value::Object(problem.members()) }
            })
        })
    }

    /// The response, if it is a success.
    pub(crate) fn check(self) -> Result<Self, Self> {
        if self.status.is_success() { Ok(self) } else { Err(self) }
    }

    /// Whether the service did not answer, so that a repeat may succeed.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
    }

    /// Whether the resource does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The service that did not answer, where the code is `peer.unavailable`.
    pub(crate) fn unavailable_peer(&self) -> Option<&str> {
        self.body["peer"].as_str().filter(|_| self.code() == "peer.unavailable")
    }

    /// The detail of a problem, for people.
    pub(crate) fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// The field of a body that could not be read.
    pub(crate) fn unreadable_field(&self) -> Option<&str> {
        self.body["field"].as_str()
    }

    /// The fields that break rules, with the messages.
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

    impl ApiClient {
        /// A client of these routes instead of the gateway's own.
        pub(crate) fn of_routes(routes: Router, config: crate::Config) -> Self {
            let internal_key = auth::InternalKey::generate().expect("a key").to_secret();
            let gateway =
                Gateway::new(crate::Config { auth: auth::AuthConfig { internal_key, ..config.auth }, ..config })
                    .expect("a gateway");
            Self::new("test", gateway, routes, &Context::new("gateway", "1", Default::default(), Default::default()))
        }
    }

    #[test]
    fn what_stands_in_a_path_or_query_cannot_leave_its_place() {
        assert_eq!(encoded("../users?x=1&y#z"), "..%2Fusers%3Fx%3D1%26y%23z");
        assert_eq!(encoded("a-b_c.d~e"), "a-b_c.d~e");
    }
}
