//! A running stock service with a store and a bus of its own, tokens to call it, and an order service that
//! says what the test wants.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use auth::{AuthConfig, InternalKey, Issuer, NewToken, Role};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use bus::{Bus, Message};
use chassis::{Context, CrashPoints, Listeners, Problem};
use proto::stock::v1::{
    CommitRequest, HoldState, Line, OrderLines, ReleaseRequest, ReserveRequest, ReserveResult,
    stock_client::StockClient,
};
use serde_json::{Value, json};
use service::{Common, Deps, Service};
use stock::{Config, Stock};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, transport::Channel};

type Orders = Arc<Mutex<HashMap<String, &'static str>>>;

/// A product service that holds everything but this.
#[derive(Default)]
pub(crate) struct Catalogue {
    pub(crate) gone: Vec<&'static str>,
    pub(crate) away: bool,
    /// How many ids it was asked for, by call.
    pub(crate) asked: Vec<usize>,
}

type Products = Arc<Mutex<Catalogue>>;

pub(crate) struct TestService {
    pub(crate) channel: Channel,
    pub(crate) http: reqwest::Client,
    pub(crate) orders: Orders,
    pub(crate) products: Products,
    address: SocketAddr,
    database: String,
    bus: Bus,
    key: InternalKey,
    issuer: Issuer,
    _dir: tempfile::TempDir,
    _stop: DropGuard,
}

impl TestService {
    pub(crate) async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let key = InternalKey::generate().expect("a key");
        let issuer = Issuer::generate("test").expect("a key");
        let orders = Orders::default();
        let products = Products::default();
        let peers = fake_peers(&issuer, orders.clone(), products.clone()).await;
        let mut config = Config {
            common: Common {
                database_url: testkit::url(&dir, "stock").await.expect("a database"),
                auth: AuthConfig {
                    issuer: "test".into(),
                    jwks_url: format!("http://{peers}/jwks.json"),
                    internal_key: key.to_secret(),
                    ..AuthConfig::default()
                },
                ..Common::default()
            },
            order_url: format!("http://{peers}"),
            product_url: format!("http://{peers}"),
            ..Config::default()
        };
        change(&mut config);
        let shutdown = CancellationToken::new();
        let ctx = Context::new(stock::NAME, "test", shutdown.clone(), CrashPoints::none());
        let bus_url = format!("embedded:{}", dir.path().join("bus.db").display());
        let bus = Bus::open(&bus_url, &ctx).await.expect("opens");
        let deps = Deps { ctx: ctx.clone(), bus: bus.clone() };
        let app = Stock::build(config.clone(), deps).await.expect("builds");
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (http, grpc) = (bind().await.expect("a port"), bind().await.expect("a port"));
        let address = http.local_addr().expect("an address");
        let url = format!("http://{}", grpc.local_addr().expect("an address"));
        tokio::spawn(async move {
            let listeners = Listeners { http, grpc: Some(grpc) };
            chassis::serve(app, &ctx, listeners).await.expect("serves");
        });
        let channel = Channel::from_shared(url).expect("a URL").connect().await.expect("connects");
        let http = reqwest::Client::new();
        let database = config.common.database_url;
        let stop = shutdown.drop_guard();
        Self { channel, http, orders, products, address, database, bus, key, issuer, _dir: dir, _stop: stop }
    }

    pub(crate) fn config(&self) -> Config {
        {
            let mut config = Config::default();
            config.common.database_url.clone_from(&self.database);
            config
        }
    }

    pub(crate) fn client(&self) -> StockClient<Channel> {
        StockClient::new(self.channel.clone())
    }

    pub(crate) fn service_token(&self) -> String {
        self.key.mint("test").expect("a token")
    }

    pub(crate) fn user_token(&self, role: Role, stores: &[&str]) -> String {
        let new = NewToken {
            subject: format!("{role:?}"),
            roles: vec![role],
            stores: stores.iter().map(|store| (*store).to_owned()).collect(),
            customer_id: None,
            ttl_seconds: 60,
        };
        self.issuer.issue(new).expect("a token").token
    }

    pub(crate) async fn reserve(&self, order_id: &str, lines: &[(&str, u32)]) -> ReserveResult {
        let request = with(ReserveRequest { orders: vec![wanted(order_id, lines)] }, &self.service_token());
        self.client().reserve(request).await.expect("answers").into_inner().results.remove(0)
    }

    pub(crate) async fn release(&self, order_id: &str) -> HoldState {
        let request = with(ReleaseRequest { order_ids: vec![order_id.into()] }, &self.service_token());
        self.client().release(request).await.expect("answers").into_inner().results[0].state()
    }

    pub(crate) async fn commit(&self, order_id: &str) -> HoldState {
        let request = with(CommitRequest { order_ids: vec![order_id.into()] }, &self.service_token());
        self.client().commit(request).await.expect("answers").into_inner().results[0].state()
    }

    /// Asks REST; gives status and body.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        self.keyed(method, path, token, body, None).await
    }

    pub(crate) async fn keyed(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> (u16, Value) {
        let method = method.parse::<reqwest::Method>().expect("a method");
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// Puts goods into the logistics centre.
    pub(crate) async fn put_in(&self, product_id: &str, delta: i64) {
        let body = json!({ "product_id": product_id, "place_id": "logistics", "delta": delta, "reason": "test" });
        let admin = self.user_token(Role::Admin, &[]);
        let (status, answer) = self.call("POST", "/api/stock/adjustments", &admin, Some(body)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// On hand and reserved in the logistics centre, proved against ledger and reservations.
    pub(crate) async fn level(&self, product_id: &str) -> (i64, i64) {
        let facts = stock::audit_facts(&self.database).await.expect("reads");
        for level in &facts.levels {
            let moved = level.adjusted - level.sold + level.restocked - level.sent + level.received;
            assert_eq!(level.on_hand, moved, "{level:?}");
            let held =
                facts.reservations.iter().filter(|r| r.state == "held" && r.place_id.as_ref() == Some(&level.place_id));
            let lines = held.flat_map(|r| &r.lines).filter(|line| line.product_id == level.product_id);
            assert_eq!(level.reserved, lines.map(|line| line.quantity).sum::<i64>(), "{level:?}");
        }
        let level = facts.levels.iter().find(|level| level.product_id == product_id).expect("a level");
        (level.on_hand, level.reserved)
    }

    /// Kinds and sequences of the events told about a subject.
    pub(crate) async fn events_of(&self, subject: &str) -> Vec<(String, i64)> {
        let facts = stock::audit_facts(&self.database).await.expect("reads");
        let told = facts.outbox.events.iter().filter(|event| event.subject == subject);
        told.map(|event| {
            let body: Value = serde_json::from_str(&event.payload).expect("JSON");
            (body["type"].as_str().expect("a type").to_owned(), event.sequence)
        })
        .collect()
    }

    /// Publishes an order's event and waits until it took effect (or was passed over).
    pub(crate) async fn deliver(&self, kind: &str, order_id: &str, sequence: i64, data: Value) {
        let event = json!({
            "specversion": "1.0", "id": format!("{order_id}/{sequence}"), "source": "/souk/order",
            "type": format!("souk.order.{kind}"), "subject": order_id, "time": "2026-01-01T00:00:00Z",
            "sequence": sequence, "datacontenttype": "application/json", "data": data,
        });
        let message = Message { topic: "orders".into(), key: order_id.into(), payload: event.to_string() };
        self.bus.publish(vec![message]).await.expect("publishes");
        let place = ("orders".to_owned(), order_id.to_owned());
        self.wait_until(|facts| facts.heard.last.get(&place).is_some_and(|heard| *heard >= sequence)).await;
    }

    pub(crate) async fn wait_until(&self, happened: impl Fn(&stock::Facts) -> bool) {
        for _ in 0..200 {
            if happened(&stock::audit_facts(&self.database).await.expect("reads")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not happen within five seconds");
    }
}

/// What the product service answers to the one question that stock has.
fn products_by_ids(products: &Products, question: &Value) -> axum::response::Response {
    let mut products = products.lock().expect("no panic before");
    if products.away {
        return Problem::new(chassis::Kind::Unavailable, "away").into_response();
    }
    assert_eq!(question["query"], "query($ids:[ID!]!){productsByIds(ids:$ids){id}}");
    let ids = question["variables"]["ids"].as_array().expect("ids");
    products.asked.push(ids.len());
    let held = |id: &&Value| !products.gone.iter().any(|gone| **id == *gone);
    let found: Vec<Value> =
        ids.iter().map(|id| Some(id).filter(held).map_or(Value::Null, |id| json!({ "id": id }))).collect();
    Json(json!({ "data": { "productsByIds": found } })).into_response()
}

/// The issuer's keys, an order service and a product service.
async fn fake_peers(issuer: &Issuer, orders: Orders, products: Products) -> SocketAddr {
    let jwks = json!({ "keys": [issuer.jwk()] });
    let order = |State(orders): State<Orders>, Path(id): Path<String>| async move {
        match orders.lock().expect("no panic before").get(&id) {
            Some(&"another 404") => StatusCode::NOT_FOUND.into_response(),
            Some(&"another problem") => Problem::not_found("route").into_response(),
            Some(&"no problem") => {
                (StatusCode::NOT_FOUND, Json(json!({ "code": "order.not_found", "detail": "There is no such order." })))
                    .into_response()
            }
            Some(status) => Json(json!({ "id": id, "status": status, "state": "whatever" })).into_response(),
            None => Problem::not_found("order").into_response(),
        }
    };
    let routes = Router::new()
        .route("/jwks.json", get(move || async move { Json(jwks) }))
        .route("/api/orders/{id}", get(order))
        .route("/graphql", post(async move |Json(question): Json<Value>| products_by_ids(&products, &question)))
        .with_state(orders);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

pub(crate) fn wanted(order_id: &str, lines: &[(&str, u32)]) -> OrderLines {
    let line = |(product_id, quantity): &(&str, u32)| Line { product_id: (*product_id).into(), quantity: *quantity };
    OrderLines { order_id: order_id.into(), place_id: String::new(), lines: lines.iter().map(line).collect() }
}

pub(crate) fn with<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("metadata");
    request.metadata_mut().insert("authorization", value);
    request
}
