//! A running service with an admin, and an issuer of tokens made for it.

use auth::{AuthConfig, InternalKey, Issuer, NewToken, Role};
use axum::Router;
use axum::routing::get;
use bus::Bus;
use chassis::{Context, CrashPoints, Json, Listeners};
use product::{Config, Product};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use service::{Common, Deps, Service};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ISSUER: &str = "http://customer.test";

pub(crate) struct House {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) admin: String,
    pub(crate) clerk: String,
    pub(crate) client: Client,
    ctx: Context,
    _data: TempDir,
}

impl House {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let path = |name: &str| data.path().join(name).display().to_string();
        let issuer = Issuer::generate(ISSUER).unwrap();
        let token = |role| {
            let new = NewToken {
                subject: "u-1".into(),
                roles: vec![role],
                stores: vec![],
                customer_id: None,
                ttl_seconds: 600,
            };
            issuer.issue(new).unwrap().token
        };
        let config = Config {
            common: Common {
                database_url: testkit::url(&data, "product").await.unwrap(),
                bus_url: format!("embedded:{}", path("bus.db")),
                auth: AuthConfig {
                    issuer: ISSUER.into(),
                    jwks_url: publish(issuer.jwk()).await,
                    internal_key: InternalKey::generate().unwrap().to_secret(),
                    ..AuthConfig::default()
                },
                ..Common::default()
            },
            ..Config::default()
        };
        let ctx = Context::new(product::NAME, "test", CancellationToken::new(), CrashPoints::none());
        let bus = Bus::open(&config.common.bus_url, &ctx).await.unwrap();
        let app = Product::build(config.clone(), Deps { ctx: ctx.clone(), bus }).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = ctx.clone();
        tokio::spawn(async move { chassis::serve(app, &serving, Listeners { http: listener, grpc: None }).await });
        Self {
            url,
            config,
            admin: token(Role::Admin),
            clerk: token(Role::Clerk),
            client: Client::new(),
            ctx,
            _data: data,
        }
    }

    pub(crate) async fn post(&self, token: &str, query: &str, variables: Value) -> Response {
        let request =
            self.client.post(format!("{}/graphql", self.url)).json(&json!({"query": query, "variables": variables}));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        request.send().await.unwrap()
    }

    /// Data of an answer without errors.
    pub(crate) async fn data(&self, token: &str, query: &str) -> Value {
        let mut answer: Value = self.post(token, query, json!({})).await.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].take()
    }

    /// Code and message of the first error.
    pub(crate) async fn error(&self, token: &str, query: &str) -> (String, String) {
        let answer = self.post(token, query, json!({})).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        let error = &answer["errors"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_else(|| panic!("{query}: {answer}"));
        (text(&error["extensions"]["code"]), text(&error["message"]))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.ctx.shutdown.cancel();
    }
}

async fn publish(jwk: Value) -> String {
    let body = json!({"keys": [jwk]});
    let app = Router::new()
        .route("/.well-known/jwks.json", get(move || async move { Json(body) }))
        .route("/.well-known/revoked", get(|| async { Json(json!({"revoked": []})) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}
