//! A running service with an admin, a clerk and the fleet's key.

use auth::{AuthConfig, InternalKey, Role};
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use bus::Bus;
use chassis::{Context, CrashPoints, Listeners, Problem};
use customer::{Config, Customer, SeedUser};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use service::{Common, Deps, Service};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) struct House {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) admin: String,
    pub(crate) clerk: String,
    pub(crate) service: String,
    pub(crate) ctx: Context,
    client: Client,
    _data: TempDir,
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::start_with("http://127.0.0.1:9").await
    }

    pub(crate) async fn start_with(order_url: &str) -> Self {
        Self::start_between(order_url, &places().await).await
    }

    pub(crate) async fn start_between(order_url: &str, stock_url: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let path = |name: &str| data.path().join(name).display().to_string();
        let key = InternalKey::generate().unwrap();
        let config = Config {
            common: Common {
                database_url: store_url(&data).await,
                bus_url: format!("embedded:{}", path("bus.db")),
                auth: AuthConfig { internal_key: key.to_secret(), ..AuthConfig::default() },
                ..Common::default()
            },
            order_url: order_url.into(),
            stock_url: stock_url.into(),
            ..Config::default()
        };
        let staff = |username: &str, role| SeedUser {
            username: username.into(),
            email: format!("{username}@souk.example"),
            name: username.into(),
            password: "correct horse".into(),
            roles: vec![role],
            stores: vec!["berlin".into()],
        };
        let users = [staff("admin", Role::Admin), staff("clerk", Role::Clerk)];
        assert_eq!(customer::seed(&config, &users).await.unwrap(), [true, true]);
        assert_eq!(customer::seed(&config, &users).await.unwrap(), [false, false]);
        let tokens = customer::tokens(&config, &["admin", "clerk", "nobody"]).await.unwrap();
        assert_eq!(tokens.len(), 2);

        let ctx = Context::new(customer::NAME, "test", CancellationToken::new(), CrashPoints::none());
        let bus = Bus::open(&config.common.bus_url, &ctx).await.unwrap();
        let app = Customer::build(config.clone(), Deps { ctx: ctx.clone(), bus }).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = ctx.clone();
        tokio::spawn(async move { chassis::serve(app, &serving, Listeners { http: listener, grpc: None }).await });
        Self {
            url,
            config,
            admin: tokens["admin"].clone(),
            clerk: tokens["clerk"].clone(),
            service: key.for_service("order").mint("admin").unwrap(),
            ctx,
            client: Client::new(),
            _data: data,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str, token: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        self.request("GET", path, token).send().await.unwrap()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Response {
        self.request(method, path, token).json(body).send().await.unwrap()
    }

    pub(crate) async fn make(&self, body: &Value) -> Value {
        let answer = self.send("POST", "/api/customers", &self.clerk, body).await;
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    pub(crate) async fn register(&self, username: &str) -> Value {
        let email = format!("{username}@example.org");
        let body = json!({"username": username, "email": email, "password": "correct horse"});
        let answer = self.send("POST", "/api/users/register", "", &body).await;
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }
}

/// A fresh store: SQLite, or the kind that `SOUK_TEST_STORES` names, which for this service may be `mongodb` too.
async fn store_url(folder: &TempDir) -> String {
    if chassis::config::var("SOUK_TEST_STORES").as_deref() != Some("mongodb") {
        return testkit::url(folder, "customer").await.unwrap();
    }
    let server = chassis::config::var("SOUK_TEST_MONGODB_URL").unwrap();
    let (address, query) = server.split_once('?').unwrap_or((&server, ""));
    let name = commerce::CustomerId::new().as_str().replace('-', "");
    format!("{}/house_{name}?{query}", address.trim_end_matches('/'))
}

impl Drop for House {
    fn drop(&mut self) {
        self.ctx.shutdown.cancel();
    }
}

/// A stock service that knows two places.
async fn places() -> String {
    let place = |Path(id): Path<String>| async move {
        match id.as_str() {
            "berlin" | "paris" => axum::Json(json!({"id": id, "kind": "store"})).into_response(),
            _ => Problem::not_found("place").into_response(),
        }
    };
    let router = axum::Router::new().route("/api/places/{id}", get(place));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// The problem in an answer of that status.
pub(crate) async fn problem(answer: Response, status: u16) -> Value {
    assert_eq!(answer.status(), status, "{}", answer.text().await.unwrap());
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    answer.json().await.unwrap()
}
