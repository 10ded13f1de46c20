//! A running service with an admin, a clerk and the fleet's key.

use auth::Role;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use chassis::{Context, Problem};
use customer::{Config, Customer, SeedUser};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) struct TestService {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) admin: String,
    pub(crate) clerk: String,
    pub(crate) service: String,
    pub(crate) ctx: Context,
    running: testkit::TestService<Customer>,
}

impl TestService {
    pub(crate) async fn start() -> Self {
        Self::start_with("http://127.0.0.1:9").await
    }

    pub(crate) async fn start_with(order_url: &str) -> Self {
        Self::start_between(order_url, &places().await).await
    }

    pub(crate) async fn start_between(order_url: &str, stock_url: &str) -> Self {
        let running = testkit::TestService::<Customer>::start(|config| {
            config.order_url = order_url.into();
            config.stock_url = stock_url.into();
        });
        let running = running.await.unwrap();
        let config = running.config.clone();
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
        Self {
            url: running.url.clone(),
            config,
            admin: tokens["admin"].clone(),
            clerk: tokens["clerk"].clone(),
            service: running.identity.key.clone().for_service("order").mint("admin").unwrap(),
            ctx: running.ctx.clone(),
            running,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str, token: &str) -> RequestBuilder {
        self.running.request(method.parse().unwrap(), path, token)
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
