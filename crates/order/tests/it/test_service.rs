//! Order services over one store, tokens to call them, and fakes of their peer services.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use auth::Role;
use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::{Kind, Problem};
use db::{Db, Options, query};
use order::{Config, Order};
use proto::{
    payment::v1 as payment,
    stock::v1::{self as stock, stock_server::StockServer},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Request, Response as GrpcResponse, Status};

/// The state of the fake peer services.
#[derive(Default)]
pub(crate) struct FakePeers {
    /// Name, price in cents and whether it is active, by id.
    pub(crate) products: HashMap<String, (String, i64, bool)>,
    /// Available pieces by place and product.
    pub(crate) available: HashMap<(String, String), i64>,
    /// The reservations of orders.
    pub(crate) held: HashMap<String, Vec<(String, String, i64)>>,
    /// Captured payments of orders, in cents.
    pub(crate) charged: HashMap<String, i64>,
    /// Payments above this amount are refused.
    pub(crate) limit: Option<i64>,
    /// The REST API of the stock service answers with 503.
    pub(crate) levels_down: bool,
    /// The catalogue answers with 503.
    pub(crate) catalogue_down: bool,
    /// Duration of a reservation.
    pub(crate) reserve_delay: Duration,
    /// Duration of a release.
    pub(crate) release_delay: Duration,
    /// Duration of a refund.
    pub(crate) refund_delay: Duration,
    /// The number of the event that a refund causes.
    pub(crate) refund_sequence: i64,
}

pub(crate) type Shared = Arc<Mutex<FakePeers>>;

pub(crate) struct TestService {
    pub(crate) http: reqwest::Client,
    pub(crate) peers: Shared,
    /// The URLs of the replicas.
    pub(crate) replicas: Vec<String>,
    pub(crate) running: testkit::TestService<Order>,
}

impl TestService {
    pub(crate) async fn open() -> Self {
        Self::with(1).await
    }

    /// Starts replicas on one store.
    pub(crate) async fn with(count: usize) -> Self {
        let peers = Shared::default();
        {
            let mut peers = peers.lock().expect("no panic before");
            for (id, name, price) in [("tea", "Tea", 450), ("cup", "Cup", 1_200), ("pot", "Pot", 30_000)] {
                peers.products.insert(id.into(), (name.into(), price, true));
                for place in ["logistics", "s1"] {
                    peers.available.insert((place.into(), id.into()), 100);
                }
            }
            peers.limit = Some(50_000);
        }
        let web = testkit::serve_routes(rest_peers(peers.clone())).await.expect("serves");
        let grpc = format!("http://{}", grpc_peers(peers.clone()).await);
        let running = testkit::TestService::<Order>::start(|config: &mut Config| {
            for url in [&mut config.customer_url, &mut config.product_url, &mut config.stock_url] {
                url.clone_from(&web);
            }
            (config.stock_grpc_url, config.payment_grpc_url) = (grpc.clone(), grpc);
        });
        let running = running.await.expect("starts");
        let mut replicas = vec![running.url.clone()];
        for replica in 1..count {
            replicas.push(running.add_replica(&replica.to_string()).await.expect("starts"));
        }
        Self { http: reqwest::Client::new(), peers, replicas, running }
    }

    /// The URL of the store.
    pub(crate) fn database(&self) -> &str {
        &self.running.config.common.database_url
    }

    pub(crate) fn service(&self) -> String {
        self.running.identity.of_service("test").expect("a token")
    }

    pub(crate) fn user(&self, role: Role, stores: &[&str]) -> String {
        self.running.identity.of_user(role, stores, None).expect("a token")
    }

    pub(crate) fn customer(&self, id: &str) -> String {
        self.running.identity.of_user(Role::Customer, &[], Some(id)).expect("a token")
    }

    /// Calls the first replica; returns status and body.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        self.call_replica(0, method, path, token, body, None).await
    }

    /// Posts to the first replica with an Idempotency-Key.
    pub(crate) async fn keyed(&self, path: &str, token: &str, body: Value, key: &str) -> (u16, Value) {
        self.call_replica(0, "POST", path, token, Some(body), Some(key)).await
    }

    /// Calls a replica; returns status and body.
    pub(crate) async fn call_replica(
        &self,
        replica: usize,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> (u16, Value) {
        let (url, key) = (&self.replicas[replica], key.unwrap_or_default());
        self.running.call_at(url, (method, path, token), key, body).await.expect("answers")
    }

    pub(crate) fn change_peers(&self, change: impl FnOnce(&mut FakePeers)) {
        change(&mut self.peers.lock().expect("no panic before"));
    }

    /// Runs a statement on the store without the service.
    pub(crate) async fn run(&self, text: &str) {
        let db = Db::open(self.database(), &Options::default(), None).await.expect("opens");
        let mut tx = db.write().await.expect("begins");
        query(text).execute(&mut tx).await.expect("runs");
        tx.commit().await.expect("commits");
        db.close().await;
    }

    /// All orders of the store.
    pub(crate) async fn orders(&self) -> Vec<order::audit::OrderFact> {
        order::audit::audit_facts(self.database()).await.expect("reads").orders
    }
}

async fn graphql(State(peers): State<Shared>, Json(request): Json<Value>) -> Response {
    let peers = peers.lock().expect("no panic before");
    if peers.catalogue_down {
        return Problem::new(Kind::Unavailable, "down").into_response();
    }
    let one = |id: &Value| {
        peers.products.get(id.as_str()?).map(|(name, price, active)| {
            let price = commerce::Amount::from_minor(*price);
            json!({ "id": id, "name": name, "price": price, "currency": "EUR", "active": active })
        })
    };
    let found: Vec<Value> =
        request["variables"]["ids"].as_array().expect("ids").iter().map(|id| one(id).unwrap_or_default()).collect();
    Json(json!({ "data": { "productsByIds": found } })).into_response()
}

/// Customers are those whose ids begin with `c`.
async fn customers(RawQuery(query): RawQuery) -> Json<Value> {
    let query = query.unwrap_or_default();
    let ids = query.split('&').filter_map(|pair| pair.strip_prefix("id=")).filter(|id| id.starts_with('c'));
    Json(json!({ "data": ids.map(|id| json!({ "id": id })).collect::<Vec<_>>() }))
}

async fn place(Path(id): Path<String>) -> Response {
    match id.as_str() {
        "logistics" => Json(json!({ "id": id, "kind": "logistics" })).into_response(),
        "s1" | "s2" => Json(json!({ "id": id, "kind": "store" })).into_response(),
        _ => Problem::not_found("place").into_response(),
    }
}

/// Two levels in each answer, so that a client has to follow the cursor.
async fn levels(State(peers): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let peers = peers.lock().expect("no panic before");
    if peers.levels_down {
        return Problem::new(Kind::Unavailable, "down").into_response();
    }
    let query = query.unwrap_or_default();
    let values = |name: &str| -> Vec<String> {
        query.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
    };
    let number = |name: &str| values(name).first().and_then(|text| text.parse::<i64>().ok());
    let (places, products) = (values("place_id"), values("product_id"));
    let mut all: Vec<_> = peers.available.iter().collect();
    all.sort();
    let chosen: Vec<Value> = all
        .into_iter()
        .filter(|((place, product), available)| {
            (places.is_empty() || places.contains(place))
                && (products.is_empty() || products.contains(product))
                && number("max_available").is_none_or(|most| **available <= most)
                && number("min_available").is_none_or(|least| **available >= least)
        })
        .map(|((place, product), available)| {
            json!({ "product_id": product, "place_id": place, "on_hand": available, "reserved": 0, "available": available })
        })
        .collect();
    let start = usize::try_from(number("cursor").unwrap_or(0)).expect("a number");
    let next = (start + 2 < chosen.len()).then(|| (start + 2).to_string());
    Json(json!({ "data": chosen.iter().skip(start).take(2).collect::<Vec<_>>(), "next_cursor": next })).into_response()
}

fn rest_peers(peers: Shared) -> Router {
    Router::new()
        .route("/graphql", post(graphql))
        .route("/api/customers", get(customers))
        .route("/api/places/{id}", get(place))
        .route("/api/stock/levels", get(levels))
        .with_state(peers)
}

struct FakeStock(Shared);

#[tonic::async_trait]
impl stock::stock_server::Stock for FakeStock {
    async fn check(&self, _: Request<stock::CheckRequest>) -> Result<GrpcResponse<stock::CheckResponse>, Status> {
        Err(Status::unimplemented("not used by the order service"))
    }

    async fn reserve(
        &self,
        request: Request<stock::ReserveRequest>,
    ) -> Result<GrpcResponse<stock::ReserveResponse>, Status> {
        let reserve_delay = self.0.lock().expect("no panic before").reserve_delay;
        tokio::time::sleep(reserve_delay).await;
        let mut peers = self.0.lock().expect("no panic before");
        let mut results = Vec::new();
        for order in request.into_inner().orders {
            let known = peers.held.contains_key(&order.order_id);
            let place = &order.place_id;
            let mut wanted: HashMap<&str, i64> = HashMap::new();
            for line in &order.lines {
                *wanted.entry(&line.product_id).or_default() += i64::from(line.quantity);
            }
            let available =
                |product: &str| peers.available.get(&(place.clone(), product.to_owned())).copied().unwrap_or(0);
            let shortages: Vec<stock::Shortage> = wanted
                .iter()
                .filter(|(product, quantity)| !known && available(product) < **quantity)
                .map(|(product, quantity)| stock::Shortage {
                    product_id: (*product).to_owned(),
                    requested: u32::try_from(*quantity).expect("fits"),
                    available: u32::try_from(available(product)).expect("fits"),
                })
                .collect();
            let short = !shortages.is_empty();
            if !known && !short {
                let goods: Vec<_> = wanted.iter().map(|(p, q)| (place.clone(), (*p).to_owned(), *q)).collect();
                for (place, product, quantity) in &goods {
                    *peers.available.entry((place.clone(), product.clone())).or_default() -= quantity;
                }
                peers.held.insert(order.order_id.clone(), goods);
            }
            let outcome = if short { stock::ReserveOutcome::Short } else { stock::ReserveOutcome::Reserved };
            let (order_id, outcome) = (order.order_id, outcome.into());
            results.push(stock::ReserveResult { order_id, outcome, shortages, detail: String::new() });
        }
        Ok(GrpcResponse::new(stock::ReserveResponse { results }))
    }

    async fn release(
        &self,
        request: Request<stock::ReleaseRequest>,
    ) -> Result<GrpcResponse<stock::ReleaseResponse>, Status> {
        let release_delay = self.0.lock().expect("no panic before").release_delay;
        tokio::time::sleep(release_delay).await;
        let mut peers = self.0.lock().expect("no panic before");
        let mut results = Vec::new();
        for order_id in request.into_inner().order_ids {
            for (place, product, quantity) in peers.held.remove(&order_id).unwrap_or_default() {
                *peers.available.entry((place, product)).or_default() += quantity;
            }
            results.push(stock::HoldResult { order_id, state: stock::HoldState::Released.into() });
        }
        Ok(GrpcResponse::new(stock::ReleaseResponse { results }))
    }

    async fn commit(&self, _: Request<stock::CommitRequest>) -> Result<GrpcResponse<stock::CommitResponse>, Status> {
        Err(Status::unimplemented("not used by the order service"))
    }
}

struct FakePayments(Shared);

fn result(order_id: String, op_id: String, refused: bool, status: &str, amount: i64) -> payment::OperationResult {
    let outcome = if refused { payment::Outcome::Refused } else { payment::Outcome::Done };
    let of = payment::Payment {
        id: format!("pay-{order_id}"),
        order_id: order_id.clone(),
        status: status.into(),
        amount,
        ..payment::Payment::default()
    };
    let reason = if refused { "above the limit".into() } else { String::new() };
    payment::OperationResult { order_id, op_id, outcome: outcome.into(), reason, payment: Some(of) }
}

type Operations = Result<GrpcResponse<payment::OperationResponse>, Status>;

#[tonic::async_trait]
impl payment::payments_server::Payments for FakePayments {
    async fn authorize(&self, request: Request<payment::AuthorizeRequest>) -> Operations {
        let mut peers = self.0.lock().expect("no panic before");
        let one = |item: payment::Authorization| {
            let refused = peers.limit.is_some_and(|limit| item.amount > limit);
            if !refused {
                let twice = peers.charged.insert(item.order_id.clone(), item.amount);
                assert!(twice.is_none_or(|amount| amount == item.amount), "charged twice");
            }
            result(item.order_id, item.op_id, refused, if refused { "refused" } else { "captured" }, item.amount)
        };
        let results = request.into_inner().items.into_iter().map(one).collect();
        Ok(GrpcResponse::new(payment::OperationResponse { results }))
    }

    async fn capture(&self, _: Request<payment::OperateRequest>) -> Operations {
        Err(Status::unimplemented("not used by the order service"))
    }

    async fn void(&self, request: Request<payment::OperateRequest>) -> Operations {
        let mut peers = self.0.lock().expect("no panic before");
        let one = |item: payment::Operation| {
            peers.charged.remove(&item.order_id);
            result(item.order_id, item.op_id, false, "voided", 0)
        };
        let results = request.into_inner().items.into_iter().map(one).collect();
        Ok(GrpcResponse::new(payment::OperationResponse { results }))
    }

    async fn refund(&self, request: Request<payment::OperateRequest>) -> Operations {
        let (delay, sequence) = {
            let peers = self.0.lock().expect("no panic before");
            (peers.refund_delay, peers.refund_sequence)
        };
        tokio::time::sleep(delay).await;
        let one = |item: payment::Operation| {
            let mut done = result(item.order_id, item.op_id, false, "partly_refunded", item.amount);
            done.payment.as_mut().expect("a payment").sequence = sequence;
            done
        };
        let results = request.into_inner().items.into_iter().map(one).collect();
        Ok(GrpcResponse::new(payment::OperationResponse { results }))
    }

    async fn get(&self, _: Request<payment::GetRequest>) -> Result<GrpcResponse<payment::GetResponse>, Status> {
        Err(Status::unimplemented("not used by the order service"))
    }

    async fn list(&self, _: Request<payment::ListRequest>) -> Result<GrpcResponse<payment::ListResponse>, Status> {
        Err(Status::unimplemented("not used by the order service"))
    }
}

async fn grpc_peers(peers: Shared) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder()
        .add_service(StockServer::new(FakeStock(peers.clone())))
        .add_service(payment::payments_server::PaymentsServer::new(FakePayments(peers)));
    tokio::spawn(async move { server.serve_with_incoming(incoming).await });
    address
}
