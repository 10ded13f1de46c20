//! Shared parts of the dialects' routes: bodies of any shape, metrics under old names, documentation pages.

use std::time::Instant;

use axum::{
    Router,
    extract::{FromRequest, MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use chassis::{Json, Metrics, Problem};
use http::header::CONTENT_TYPE;
use prometheus::{HistogramVec, IntCounterVec};
use serde_json::{Map, Value, json};
use utoipa_swagger_ui::SwaggerUi;

/// A body of any shape; `null` if it is no JSON, so that the dialect refuses it in its own format.
pub(crate) struct AnyJson(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for AnyJson {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = chassis::read_body(&parts, body).await?;
        Ok(Self(serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// `GET /metrics` with all metrics of the gateway.
pub(crate) async fn metrics(State(metrics): State<Metrics>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response()
}

/// Counts requests under the metric names of an older fleet's dashboards.
#[derive(Clone)]
pub(crate) struct Meters {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Meters {
    /// `requests` has the labels method, endpoint and status, `seconds` method and endpoint.
    pub(crate) fn new(metrics: &Metrics, requests: &str, seconds: &str) -> Self {
        Self {
            requests: metrics.counter(
                requests,
                "Requests answered in an older fleet's dialect.",
                &["method", "endpoint", "status"],
            ),
            seconds: metrics.histogram(
                seconds,
                "Time to answer requests in an older fleet's dialect.",
                &["method", "endpoint"],
            ),
        }
    }

    /// Counts the requests to these routes.
    pub(crate) fn over(self, routes: Router) -> Router {
        routes.layer(middleware::from_fn_with_state(self, count))
    }
}

async fn count(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = request.method().clone();
    let endpoint = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    meters.requests.with_label_values(&[method.as_str(), &endpoint, response.status().as_str()]).inc();
    meters.seconds.with_label_values(&[method.as_str(), &endpoint]).observe(begin.elapsed().as_secs_f64());
    response
}

/// A route of a documentation page: method, path, summary.
pub(crate) type RouteDoc = (&'static str, &'static str, &'static str);

/// A documentation page at `path`, such as `/docs`, with Swagger UI.
pub(crate) fn docs(path: &'static str, title: &str, routes: &[RouteDoc]) -> Router {
    let mut paths = Map::new();
    for (method, route, summary) in routes {
        let parameters: Vec<Value> = route
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
            .map(|(name, _)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        let mut operation =
            json!({"summary": summary, "parameters": parameters, "responses": {"default": {"description": summary}}});
        if matches!(*method, "post" | "put" | "patch") {
            operation["requestBody"] = json!({"content": {"application/json": {"schema": {"type": "object"}}}});
        }
        let entry = paths.entry((*route).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation;
    }
    let description =
        json!({"openapi": "3.1.0", "info": {"title": title, "version": chassis::VERSION}, "paths": paths});
    let url = format!("{path}/openapi.json");
    // The path is relative, since under /compat the page is not at the root.
    let config = chassis::swagger_config("./openapi.json");
    Router::new().route(&url, get(async move || Json(description))).merge(SwaggerUi::new(path).config(config))
}
