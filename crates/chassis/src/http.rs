//! The middleware of every HTTP request, and the routes that every service has.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, StatusCode, Version};
use prometheus::{HistogramVec, IntCounterVec};
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::body::{BodyBudget, ClientBody};
use crate::extract::{content_length, discard, too_large};
use crate::problem::Rendered;
use crate::{BODY_LIMIT, BodyProgress, Callers, Context, Json, Kind, Metrics, Problem, Ready, deadline, trace};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");
const X_FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");

/// The request's id, from the caller or generated; in the request's extensions.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// The `traceparent` of the request, from the caller or generated; in the request's extensions.
#[derive(Clone, Debug)]
pub struct TraceParent(pub Arc<str>);

struct RequestMetrics {
    service: &'static str,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// Wraps a service's routes in the common middleware. A request passes it from the top down:
///
/// 1. `observe`: comes first, so that everything below is logged with the request id and the trace. It sees the final
///    response, so it counts by route template and status, completes problems and sets the security headers.
/// 2. panic handling: inside the span, so that its log line has the trace; outside of all code that may panic.
/// 3. deadline: stops processing when the caller's deadline has passed.
/// 4. `limit`: refuses ambiguous headers, and a body with a too large `Content-Length` before anything reads it; bounds how slowly a
///    body may come. Streams of gRPC do not pass here: they may rest.
/// 5. the routes: the service's own, `/health`, `/ready`, `/metrics`.
pub(crate) fn stack(routes: Router, ctx: &Context, ready: Ready, callers: Callers) -> Router {
    ctx.metrics.describe(ctx.name);
    layers(routes.merge(common_routes(ctx, ready)), ctx, callers)
}

/// The common middleware without the routes that every service has.
pub(crate) fn layers(routes: Router, ctx: &Context, callers: Callers) -> Router {
    let metrics = Arc::new(RequestMetrics {
        service: ctx.name,
        requests: ctx.metrics.counter("http_requests_total", "HTTP requests answered.", &["method", "route", "status"]),
        seconds: ctx.metrics.histogram(
            "http_request_duration_seconds",
            "Time to answer HTTP requests.",
            &["method", "route"],
        ),
    });
    routes
        .layer(middleware::from_fn_with_state((callers, BodyBudget::new()), limit))
        .layer(middleware::from_fn_with_state(callers, deadline::http))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn_with_state(metrics, observe))
}

fn common_routes(ctx: &Context, ready: Ready) -> Router {
    let shutdown = ctx.shutdown.clone();
    Router::new()
        .route("/health", get(async || Json(json!({"status": "healthy"}))))
        .route("/ready", get(move || readiness(ready.clone(), shutdown.is_cancelled())))
        .route("/metrics", get(render_metrics).with_state(ctx.metrics.clone()))
}

async fn readiness(ready: Ready, stopping: bool) -> Response {
    let outcome = if stopping { Err("stopping".to_owned()) } else { ready().await };
    let (status, mut body) = match outcome {
        Ok(facts) => (StatusCode::OK, json!({"status": "ready", "facts": facts})),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "not ready", "reason": reason})),
    };
    if body["facts"].is_null() {
        body.as_object_mut().map(|members| members.remove("facts"));
    }
    (status, Json(body)).into_response()
}

async fn render_metrics(State(metrics): State<Metrics>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response()
}

/// Headers that may stand only once: with two of them, two programs may read two things.
const ONCE: [HeaderName; 5] =
    [HOST, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName::from_static("idempotency-key")];
/// Most headers of a request from anybody. A gateway adds its own, and the services behind it must not refuse what it lets pass.
const MAX_HEADERS: usize = 100;

/// What is wrong with the headers of a request, if anything is.
fn bad_headers(request: &Request, callers: Callers) -> Option<Problem> {
    let headers = request.headers();
    if let Some(name) = ONCE.iter().find(|name| headers.get_all(*name).iter().count() > 1) {
        return Some(Problem::new(Kind::Unreadable, format!("The header {name} may stand only once.")));
    }
    if callers == Callers::Services {
        return None;
    }
    // RFC 9112, section 3.2. HTTP/2 has the authority instead.
    if request.version() == Version::HTTP_11 && !headers.contains_key(HOST) {
        return Some(Problem::new(Kind::Unreadable, "The header Host is missing."));
    }
    let detail = format!("A request may have at most {MAX_HEADERS} headers.");
    (headers.len() > MAX_HEADERS).then(|| Problem::new(Kind::Unreadable, detail))
}

async fn limit(State((callers, budget)): State<(Callers, BodyBudget)>, request: Request, next: Next) -> Response {
    let progress = BodyProgress::default();
    let mut request = request.map(|body| Body::new(ClientBody::new(body, progress.clone())));
    if let Some(problem) = bad_headers(&request, callers) {
        return problem.into_response();
    }
    if content_length(request.headers()).is_some_and(|length| length > BODY_LIMIT as u64) {
        let (parts, body) = request.into_parts();
        discard(&parts.headers, body).await;
        return too_large().into_response();
    }
    request.extensions_mut().insert(budget);
    request.extensions_mut().insert(progress);
    next.run(request).await
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    Problem::internal(panic_message(panic.as_ref())).into_response()
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("(no message)"))
}

async fn observe(State(metrics): State<Arc<RequestMetrics>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let traceparent = traceparent(request.headers());
    let method = method_label(request.method());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "request",
        service = metrics.service,
        "otel.name" = %format_args!("{method} {route}"),
        "otel.kind" = "server",
        "http.request.method" = method,
        "http.route" = %route,
        "http.response.status_code" = tracing::field::Empty,
        "request.id" = %id.0,
        trace_id = trace::trace_id(&traceparent.0),
    );
    trace::set_parent(&span, &traceparent.0);
    let (request_id_header, trace_id) =
        (HeaderValue::from_str(&id.0), trace::trace_id(&traceparent.0).map(str::to_owned));
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(traceparent);

    let mut answered = Answered { metrics: &metrics, method, route: &route, begun, status: CLIENT_LEFT };
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = complete(response, &path, trace_id.as_deref());

    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    tracing::debug!(parent: &span, status = status.as_u16(), elapsed_ms = begun.elapsed().as_millis(), "answered");
    answered.status = status.as_u16();
    drop(answered);

    let headers = response.headers_mut();
    if let Ok(value) = request_id_header {
        headers.insert(X_REQUEST_ID, value);
    }
    secure(headers);
    response
}

/// The status, in metrics only, of a request whose client left before the answer; as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// Counts a request when it is answered, or dropped because its client has left.
struct Answered<'a> {
    metrics: &'a RequestMetrics,
    method: &'static str,
    route: &'a str,
    begun: Instant,
    status: u16,
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        let Self { metrics, method, route, begun, status } = self;
        metrics.requests.with_label_values(&[*method, *route, &status.to_string()]).inc();
        metrics.seconds.with_label_values(&[*method, *route]).observe(begun.elapsed().as_secs_f64());
    }
}

/// A method as the label of a metric and in the name of a span: clients may invent others, of which each would be a time series.
/// `_OTHER` is what OpenTelemetry calls them (<https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>).
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// Sets security headers for browsers; values that a route has set stay.
fn secure(headers: &mut HeaderMap) {
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(id) => RequestId(id.into()),
        None => RequestId(uuid::Uuid::now_v7().to_string().into()),
    }
}

pub(crate) fn traceparent(headers: &HeaderMap) -> TraceParent {
    let given = headers.get(trace::TRACEPARENT).and_then(|value| value.to_str().ok());
    match given.filter(|text| trace::trace_id(text).is_some()) {
        Some(text) => TraceParent(text.into()),
        None => TraceParent(trace::fresh().into()),
    }
}

/// Adds path and trace to a problem, and turns the empty error responses of the router and of axum into problems.
fn complete(mut response: Response, path: &str, trace_id: Option<&str>) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let members = match response.extensions_mut().remove::<Rendered>() {
        Some(Rendered(members)) => members,
        None if is_empty_error(&response) => problem_for(status).members(),
        None => return response,
    };
    let mut members = members;
    members.insert("instance".into(), json!(path));
    members.insert("trace_id".into(), json!(trace_id));
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, Body::from(Value::Object(members).to_string()))
}

fn is_empty_error(response: &Response) -> bool {
    !response.headers().contains_key(CONTENT_TYPE) && response.body().size_hint().exact() == Some(0)
}

fn problem_for(status: StatusCode) -> Problem {
    let kind = Kind::from_status(status);
    let detail = match kind {
        Kind::NotFound => "There is nothing at this path.",
        Kind::MethodNotAllowed => "This path does not take that method; see the Allow header.",
        _ => kind.title(),
    };
    Problem::new(kind, detail)
}
