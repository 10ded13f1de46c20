//! Tests the chassis as its services use it: over real sockets.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod clients;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use chassis::{App, Callers, Context, CrashPoints, Json, Kind, Listeners, Path, Problem, Query, always_ready};
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cart {
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    limit: Option<u32>,
}

struct Running {
    url: String,
    ctx: Context,
    client: Client,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(App { http: routes(), grpc: None, ready: always_ready(), callers: Callers::Anybody }).await
    }

    async fn start_with(app: App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ctx = Context::new("carts", "replica-1", CancellationToken::new(), CrashPoints::none());
        let serving = ctx.clone();
        let served =
            tokio::spawn(async move { chassis::serve(app, &serving, Listeners { http: listener, grpc: None }).await });
        Self { url, ctx, client: Client::new(), served }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn post(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.post(format!("{}/carts", self.url)).header("content-type", content_type);
        request.body(body).send().await.unwrap()
    }
}

fn routes() -> Router {
    Router::new()
        .route("/carts", post(|Json(cart): Json<Cart>| async { Json(cart) }))
        .route(
            "/carts/{id}",
            get(|Path(id): Path<u64>, Query(filter): Query<Filter>| async move {
                Json(json!({"id": id, "limit": filter.limit, "trace": chassis::trace::current_traceparent()}))
            }),
        )
        .route("/panic", get(|| async { panic!("the password is hunter2") as &'static str }))
        .route("/stale", get(|| async { Problem::new(Kind::Stale, "version 3 is newer").with("version", 3) }))
}

async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["instance"].as_str().unwrap().starts_with('/'));
    assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
    problem
}

#[tokio::test]
async fn every_unreadable_body_is_refused_as_what_it_is() {
    let running = Running::start().await;
    let json = "application/json";

    let unknown =
        problem(running.post(json, r#"{"lines":[{"name":"a","quantity":1,"colour":"red"}]}"#).await, 400).await;
    let detail = unknown["detail"].as_str().unwrap();
    assert!(detail.contains("colour") && detail.contains("lines[0]") && detail.contains("line 1"), "{detail}");

    let negative = problem(running.post(json, r#"{"lines":[{"name":"a","quantity":-1}]}"#).await, 400).await;
    assert!(negative["detail"].as_str().unwrap().contains("lines[0].quantity"), "{negative}");

    let utf8 = problem(running.post(json, b"{\"lines\":[{\"name\":\"\xff\"}]}".to_vec()).await, 400).await;
    assert!(utf8["detail"].as_str().unwrap().contains("UTF-8 at byte 19"), "{utf8}");

    problem(running.post(json, r#"{"lines":[]} trailing"#).await, 400).await;
    problem(running.post(json, "[".repeat(100_000)).await, 400).await;
    problem(running.post(json, "").await, 400).await;
    problem(running.post("text/plain", "{}").await, 415).await;
    problem(running.post(json, vec![b' '; 10 << 20]).await, 413).await;
    let chunks = futures::stream::iter((0..160).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10])));
    problem(running.post(json, reqwest::Body::wrap_stream(chunks)).await, 413).await;

    let good = running.post("application/json; charset=utf-8", r#"{"lines":[{"name":"ä","quantity":2}]}"#).await;
    assert_eq!(good.json::<Value>().await.unwrap()["lines"][0]["name"], "ä");
}

#[tokio::test]
async fn paths_queries_and_methods_that_do_not_fit_are_problems() {
    let running = Running::start().await;
    problem(running.get("/nowhere").await, 404).await;
    problem(running.get("/carts/abc").await, 400).await;
    problem(running.get("/carts/%FF").await, 400).await;
    problem(running.get("/carts/1?limit=many").await, 400).await;
    let unknown = problem(running.get("/carts/1?colour=red").await, 400).await;
    assert!(unknown["detail"].as_str().unwrap().contains("colour"));
    let method = running.get("/carts").await;
    assert_eq!(method.headers()["allow"], "POST");
    problem(method, 405).await;
    let stale = problem(running.get("/stale").await, 412).await;
    assert_eq!((&stale["version"], &stale["title"]), (&json!(3), &json!("Changed meanwhile")));
}

#[tokio::test]
async fn a_panic_is_a_500_that_reveals_nothing_and_the_service_keeps_running() {
    let running = Running::start().await;
    let body = problem(running.get("/panic").await, 500).await;
    assert!(!body.to_string().contains("hunter2"));
    assert_eq!(running.get("/health").await.json::<Value>().await.unwrap(), json!({"status": "healthy"}));
}

#[tokio::test]
async fn requests_are_counted_by_route_template() {
    let running = Running::start().await;
    for id in 1..=3 {
        running.get(&format!("/carts/{id}")).await;
    }
    running.get("/secret/path").await;
    let text = running.get("/metrics").await.text().await.unwrap();
    assert!(text.contains(r#"http_requests_total{method="GET",route="/carts/{id}",status="200"} 3"#), "{text}");
    assert!(text.contains(r#"http_request_duration_seconds_count{method="GET",route="/carts/{id}"} 3"#), "{text}");
    assert!(text.contains(r#"http_requests_total{method="GET",route="unmatched",status="404"} 1"#), "{text}");
    assert!(!text.contains("/secret"), "{text}");
}

#[tokio::test]
async fn a_trace_and_a_request_id_are_kept_or_made() {
    chassis::telemetry::ids_only();
    let running = Running::start().await;
    let request = running.client.get(format!("{}/carts/1", running.url));
    let kept = request.header("traceparent", TRACEPARENT).header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(kept.headers()["x-request-id"], "mine-1");
    assert_eq!(kept.headers()["x-content-type-options"], "nosniff");
    let inside = kept.json::<Value>().await.unwrap()["trace"].as_str().unwrap().to_owned();
    assert!(inside.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && inside.ends_with("-01"), "{inside}");
    assert_ne!(inside, TRACEPARENT, "the service's own span is the parent from here on");

    let made = running.get("/carts/1").await;
    assert_eq!(made.headers()["x-request-id"].len(), 36);
    assert!(made.json::<Value>().await.unwrap()["trace"].as_str().is_some_and(|trace| trace.ends_with("-01")));
}

#[tokio::test]
async fn readiness_follows_the_store_and_the_end_of_the_process() {
    let ready: chassis::Ready = std::sync::Arc::new(|| Box::pin(async { Err("store is unreachable".to_owned()) }));
    let running = Running::start_with(App { http: Router::new(), grpc: None, ready, callers: Callers::Services }).await;
    let answer = running.get("/ready").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "store is unreachable");

    let running = Running::start().await;
    assert_eq!(running.get("/ready").await.status(), 200);
    running.ctx.shutdown.cancel();
    drop(running.client);
    tokio::time::timeout(std::time::Duration::from_secs(5), running.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_handler_can_ask_who_its_peer_is() {
    let peer = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() });
    let app =
        App { http: Router::new().route("/peer", peer), grpc: None, ready: always_ready(), callers: Callers::Anybody };
    let running = Running::start_with(app).await;
    assert_eq!(running.get("/peer").await.text().await.unwrap(), "127.0.0.1");
}

#[tokio::test]
async fn http_2_without_tls_is_served_on_the_same_port() {
    let running = Running::start().await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<axum::body::Body>();
    let answer = client.get(format!("{}/health", running.url).parse().unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
}

#[tokio::test]
async fn grpc_has_health_and_reflection_and_is_counted_by_code() {
    let routes = chassis::grpc::with_health_and_reflection(
        tonic::service::Routes::default(),
        &["souk.Stock"],
        tonic_health::pb::FILE_DESCRIPTOR_SET,
    );
    let app = App {
        http: Router::new(),
        grpc: Some(routes.await.unwrap()),
        ready: always_ready(),
        callers: Callers::Anybody,
    };
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", grpc.local_addr().unwrap());
    let ctx = Context::new("stock", "replica-1", CancellationToken::new(), CrashPoints::none());
    let serving = ctx.clone();
    tokio::spawn(async move { chassis::serve(app, &serving, Listeners { http, grpc: Some(grpc) }).await });

    let channel = tonic::transport::Endpoint::new(url.clone()).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let ask = |service: &str| tonic_health::pb::HealthCheckRequest { service: service.into() };
    assert_eq!(health.check(ask("souk.Stock")).await.unwrap().into_inner().status, 1);
    assert_eq!(health.check(ask("souk.Nothing")).await.unwrap_err().code(), tonic::Code::NotFound);
    // No message at all: the caller's fault.
    let raw = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<axum::body::Body>();
    let request = http::Request::post(format!("{url}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(axum::body::Body::from(&b"\0\0\0\0\x05hello"[..]));
    let answer = raw.request(request.unwrap()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "3");
    assert!(answer.headers()["grpc-message"].to_str().unwrap().contains("Protobuf"), "{answer:?}");
    drop(answer);
    let text = ctx.metrics.render();
    for code in ["Ok", "NotFound", "InvalidArgument"] {
        let line = format!(r#"grpc_requests_total{{code="{code}",method="/grpc.health.v1.Health/Check"}} 1"#);
        assert!(text.contains(&line), "{text}");
    }
}
