//! A running service, and an issuer of tokens made for it.

use std::net::{IpAddr, Ipv4Addr};

use auth::{AuthConfig, InternalKey, Issuer, NewToken, Role};
use axum::{Router, routing::get};
use bus::Bus;
use chassis::{Context, CrashPoints, Json, Listeners};
use notification::{Config, Notification};
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
    pub(crate) service: String,
    /// Calls from this machine, as a sidecar does.
    pub(crate) near: Client,
    /// Calls from another address, as everybody else does.
    pub(crate) far: Client,
    ctx: Context,
    _data: TempDir,
}

impl House {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
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
        let key = InternalKey::generate().unwrap();
        let config = Config {
            common: Common {
                database_url: testkit::url(&data, "notification").await.unwrap(),
                bus_url: format!("embedded:{}", data.path().join("bus.db").display()),
                auth: AuthConfig {
                    issuer: ISSUER.into(),
                    jwks_url: publish(issuer.jwk()).await,
                    internal_key: key.to_secret(),
                    ..AuthConfig::default()
                },
                ..Common::default()
            },
            ..Config::default()
        };
        let ctx = Context::new(notification::NAME, "test", CancellationToken::new(), CrashPoints::none());
        let bus = Bus::open(&config.common.bus_url, &ctx).await.unwrap();
        let app = Notification::build(config.clone(), Deps { ctx: ctx.clone(), bus }).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = ctx.clone();
        tokio::spawn(async move { chassis::serve(app, &serving, Listeners { http: listener, grpc: None }).await });
        let far = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
        Self {
            url,
            config,
            admin: token(Role::Admin),
            clerk: token(Role::Clerk),
            service: key.for_service("gateway").mint("gateway").unwrap(),
            near: Client::new(),
            far: Client::builder().local_address(far).build().unwrap(),
            ctx,
            _data: data,
        }
    }

    /// Sends JSON to `/orders` as the sidecar.
    pub(crate) async fn report(&self, body: &Value) -> Response {
        self.near.post(format!("{}/orders", self.url)).json(body).send().await.unwrap()
    }

    /// All notifications, oldest first.
    pub(crate) async fn notices(&self) -> Vec<Value> {
        let url = format!("{}/api/notifications?limit=100", self.url);
        let answer = self.near.get(url).bearer_auth(&self.admin).send().await.unwrap();
        let mut body: Value = answer.json().await.unwrap();
        let mut data: Vec<Value> = serde_json::from_value(body["data"].take()).unwrap();
        data.reverse();
        data
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
