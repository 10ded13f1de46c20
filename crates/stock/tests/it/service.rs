//! A running stock service with its own store and bus, tokens to call it, and fakes of the services that it calls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use auth::Role;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use bus::Message;
use chassis::Problem;
use proto::stock::v1::{
    CommitRequest, HoldState, Line, OrderLines, ReleaseRequest, ReserveRequest, ReserveResult,
    stock_client::StockClient,
};
use serde_json::{Value, json};
use stock::{Config, Stock};
use tonic::{Request, transport::Channel};

/// What the fake order service answers.
#[derive(Clone, Copy)]
pub(crate) enum OrderAnswer {
    /// An order in this status.
    Status(&'static str),
    /// A 404 without a body.
    BareNotFound,
    /// A problem about something else.
    OtherProblem,
    /// The detail of a missing order, but no problem.
    NoProblem,
}

/// The order service and the product service, as the test wants them.
#[derive(Default)]
pub(crate) struct FakePeers {
    /// The orders that exist, by id.
    pub(crate) orders: HashMap<String, OrderAnswer>,
    /// How often the stock service has asked about an order, by id.
    pub(crate) order_questions: HashMap<String, usize>,
    /// The products that do not exist. All others do.
    pub(crate) missing_products: Vec<&'static str>,
    /// The product service is unreachable.
    pub(crate) products_unreachable: bool,
    /// The number of ids in each question to the product service.
    pub(crate) product_questions: Vec<usize>,
}

type Peers = Arc<Mutex<FakePeers>>;

pub(crate) struct TestService {
    pub(crate) channel: Channel,
    peers: Peers,
    running: testkit::TestService<Stock>,
}

impl TestService {
    pub(crate) async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let peers = Peers::default();
        let url = testkit::serve_routes(peer_routes(peers.clone())).await.expect("serves");
        let running = testkit::TestService::start(|config: &mut Config| {
            (config.order_url, config.product_url) = (url.clone(), url);
            change(config);
        });
        let running = running.await.expect("starts");
        let channel = Channel::from_shared(format!("http://{}", running.grpc)).expect("a URL");
        Self { channel: channel.connect().await.expect("connects"), peers, running }
    }

    /// The URL of its store.
    pub(crate) fn database(&self) -> &str {
        &self.running.config.common.database_url
    }

    /// The default settings, with the store of this service.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        self.database().clone_into(&mut config.common.database_url);
        config
    }

    /// The fakes of the peer services.
    pub(crate) fn peers(&self) -> MutexGuard<'_, FakePeers> {
        self.peers.lock().expect("no panic before")
    }

    pub(crate) fn client(&self) -> StockClient<Channel> {
        StockClient::new(self.channel.clone())
    }

    pub(crate) fn service_token(&self) -> String {
        self.running.identity.of_service("test").expect("a token")
    }

    pub(crate) fn user_token(&self, role: Role, stores: &[&str]) -> String {
        self.running.identity.of_user(role, stores, None).expect("a token")
    }

    pub(crate) async fn reserve(&self, order_id: &str, lines: &[(&str, u32)]) -> ReserveResult {
        let request = with(ReserveRequest { orders: vec![order_lines(order_id, lines)] }, &self.service_token());
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

    /// Calls REST. Returns status and body.
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
        let (url, key) = (&self.running.url, key.unwrap_or_default());
        self.running.call_at(url, (method, path, token), key, body).await.expect("answers")
    }

    /// Puts goods into the logistics centre.
    pub(crate) async fn put_in(&self, product_id: &str, delta: i64) {
        let body = json!({ "product_id": product_id, "place_id": "logistics", "delta": delta, "reason": "test" });
        let admin = self.user_token(Role::Admin, &[]);
        let (status, answer) = self.call("POST", "/api/stock/adjustments", &admin, Some(body)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// On hand and reserved in the logistics centre, compared with ledger and reservations.
    pub(crate) async fn level(&self, product_id: &str) -> (i64, i64) {
        let facts = stock::audit_facts(self.database()).await.expect("reads");
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

    /// Kinds and sequences of the events about a subject.
    pub(crate) async fn events_of(&self, subject: &str) -> Vec<(String, i64)> {
        let facts = stock::audit_facts(self.database()).await.expect("reads");
        let events = facts.outbox.events.iter().filter(|event| event.subject == subject);
        events
            .map(|event| {
                let body: Value = serde_json::from_str(&event.payload).expect("JSON");
                (body["type"].as_str().expect("a type").to_owned(), event.sequence)
            })
            .collect()
    }

    /// The bus that the service consumes.
    pub(crate) fn bus(&self) -> &bus::Bus {
        &self.running.bus
    }

    /// Publishes an order event, and waits until it has taken effect (or was ignored).
    pub(crate) async fn deliver(&self, kind: &str, order_id: &str, sequence: i64, data: Value) {
        self.publish(kind, order_id, sequence, data).await;
        let subject = ("orders".to_owned(), order_id.to_owned());
        self.wait_until(|facts| facts.inbox.last.get(&subject).is_some_and(|(last, _)| *last >= sequence)).await;
    }

    /// Publishes an order event.
    pub(crate) async fn publish(&self, kind: &str, order_id: &str, sequence: i64, data: Value) {
        let event = json!({
            "specversion": "1.0", "id": format!("{order_id}/{sequence}"), "source": "/souk/order",
            "type": format!("souk.order.{kind}"), "subject": order_id, "time": "2026-01-01T00:00:00Z",
            "sequence": sequence, "datacontenttype": "application/json", "data": data,
        });
        let message = Message { topic: "orders".into(), key: order_id.into(), payload: event.to_string() };
        self.bus().publish(vec![message]).await.expect("publishes");
    }

    /// Waits until the stock service has asked about these orders once more, after a question whose answer it has processed:
    /// it asks about one order after the other.
    pub(crate) async fn wait_until_checked(&self, orders: &[&str]) {
        let asked = |peers: &FakePeers, id: &str| peers.order_questions.get(id).copied().unwrap_or(0);
        let before: Vec<usize> = orders.iter().map(|id| asked(&self.peers(), id)).collect();
        for _ in 0..1_000 {
            if orders.iter().zip(&before).all(|(id, before)| asked(&self.peers(), id) >= before + 2) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the orders were not checked within five seconds");
    }

    /// Waits until the facts show this.
    pub(crate) async fn wait_until(&self, happened: impl Fn(&stock::Facts) -> bool) {
        for _ in 0..200 {
            if happened(&stock::audit_facts(self.database()).await.expect("reads")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not happen within five seconds");
    }
}

/// The answer to the only query that stock sends to the product service.
fn products_by_ids(peers: &Peers, question: &Value) -> axum::response::Response {
    let mut peers = peers.lock().expect("no panic before");
    if peers.products_unreachable {
        return Problem::new(chassis::Kind::Unavailable, "unreachable").into_response();
    }
    assert_eq!(question["query"], "query($ids:[ID!]!){productsByIds(ids:$ids){id}}");
    let ids = question["variables"]["ids"].as_array().expect("ids");
    peers.product_questions.push(ids.len());
    let exists = |id: &&Value| !peers.missing_products.iter().any(|missing| **id == *missing);
    let found: Vec<Value> =
        ids.iter().map(|id| Some(id).filter(exists).map_or(Value::Null, |id| json!({ "id": id }))).collect();
    Json(json!({ "data": { "productsByIds": found } })).into_response()
}

fn order(peers: &Peers, id: &str) -> axum::response::Response {
    let mut peers = peers.lock().expect("no panic before");
    *peers.order_questions.entry(id.to_owned()).or_default() += 1;
    match peers.orders.get(id) {
        Some(OrderAnswer::BareNotFound) => StatusCode::NOT_FOUND.into_response(),
        Some(OrderAnswer::OtherProblem) => Problem::not_found("route").into_response(),
        Some(OrderAnswer::NoProblem) => {
            let body = json!({ "detail": "There is no such order.", "code": "order.not_found" });
            (StatusCode::NOT_FOUND, Json(body)).into_response()
        }
        Some(OrderAnswer::Status(status)) => {
            Json(json!({ "id": id, "status": status, "state": "whatever" })).into_response()
        }
        None => Problem::not_found("order").into_response(),
    }
}

/// The order service and the product service.
fn peer_routes(peers: Peers) -> Router {
    Router::new()
        .route("/api/orders/{id}", get(async |State(peers): State<Peers>, Path(id): Path<String>| order(&peers, &id)))
        .route(
            "/graphql",
            post(async |State(peers): State<Peers>, Json(question): Json<Value>| products_by_ids(&peers, &question)),
        )
        .with_state(peers)
}

pub(crate) fn order_lines(order_id: &str, lines: &[(&str, u32)]) -> OrderLines {
    let line = |(product_id, quantity): &(&str, u32)| Line { product_id: (*product_id).into(), quantity: *quantity };
    OrderLines { order_id: order_id.into(), place_id: String::new(), lines: lines.iter().map(line).collect() }
}

pub(crate) fn with<T>(message: T, token: &str) -> Request<T> {
    testkit::with_token(message, token).expect("a token")
}
