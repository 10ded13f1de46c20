//! Running order services over one store, tokens to call them, and the neighbours whom they ask.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use auth::{InternalKey, Issuer, NewToken, Role};
use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bus::Bus;
use chassis::{Context, CrashPoints, Kind, Listeners, Problem};
use db::{Db, Options, query};
use order::{Config, Deps};
use proto::{
    payment::v1 as payment,
    stock::v1::{self as stock, stock_server::StockServer},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response as Answer, Status};

/// What the neighbours know and do.
#[derive(Default)]
pub(crate) struct World {
    /// Name, price in cents and whether it is sold, by id.
    pub(crate) products: HashMap<String, (String, i64, bool)>,
    /// Pieces that can be promised, by place and product.
    pub(crate) shelf: HashMap<(String, String), i64>,
    /// The goods that orders hold.
    pub(crate) held: HashMap<String, Vec<(String, String, i64)>>,
    /// What orders were charged, in cents.
    pub(crate) charged: HashMap<String, i64>,
    /// Payments above it are refused.
    pub(crate) limit: Option<i64>,
    /// The stock service does not answer by REST, the catalogue not at all.
    pub(crate) levels_away: bool,
    pub(crate) catalogue_away: bool,
    /// How long reserving takes.
    pub(crate) slowness: Duration,
}

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) struct House {
    pub(crate) http: reqwest::Client,
    pub(crate) world: Shared,
    pub(crate) database: String,
    /// The replicas.
    pub(crate) at: Vec<SocketAddr>,
    pub(crate) bus: Bus,
    issuer: Issuer,
    key: InternalKey,
    _dir: tempfile::TempDir,
    _stop: DropGuard,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(1).await
    }

    /// So many replicas on one store.
    pub(crate) async fn with(replicas: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let key = InternalKey::generate().expect("a key");
        let issuer = Issuer::generate("test").expect("a key");
        let world = Shared::default();
        {
            let mut world = world.lock().expect("no panic before");
            for (id, name, price) in [("tea", "Tea", 450), ("cup", "Cup", 1_200), ("pot", "Pot", 30_000)] {
                world.products.insert(id.into(), (name.into(), price, true));
                for place in ["logistics", "s1"] {
                    world.shelf.insert((place.into(), id.into()), 100);
                }
            }
            world.limit = Some(50_000);
        }
        let (web, grpc) = (neighbours(&issuer, world.clone()).await, grpc(world.clone()).await);
        let config = Config {
            database_url: testkit::url(&dir, "orders").await.expect("a database"),
            issuer: "test".into(),
            jwks_url: format!("http://{web}/jwks.json"),
            customer_url: format!("http://{web}"),
            product_url: format!("http://{web}"),
            stock_url: format!("http://{web}"),
            stock_grpc_url: format!("http://{grpc}"),
            payment_grpc_url: format!("http://{grpc}"),
            internal_key: key.to_secret(),
            ..Config::default()
        };
        let shutdown = CancellationToken::new();
        let first = Context::new(order::NAME, "0", shutdown.clone(), CrashPoints::none());
        let bus = Bus::open(&format!("embedded:{}", dir.path().join("bus.db").display()), &first).await.expect("opens");
        let mut at = Vec::new();
        for replica in 0..replicas {
            let ctx = Context::new(order::NAME, replica.to_string(), shutdown.clone(), CrashPoints::none());
            let deps = Deps { ctx: ctx.clone(), bus: bus.clone() };
            let app = order::build(config.clone(), deps).await.expect("builds");
            let http = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            at.push(http.local_addr().expect("an address"));
            tokio::spawn(async move {
                chassis::serve(app, &ctx, Listeners { http, grpc: None }).await.expect("serves");
            });
        }
        let (http, database) = (reqwest::Client::new(), config.database_url);
        Self { http, world, database, at, bus, issuer, key, _dir: dir, _stop: shutdown.drop_guard() }
    }

    pub(crate) fn service(&self) -> String {
        self.key.mint("test").expect("a token")
    }

    pub(crate) fn user(&self, role: Role, stores: &[&str]) -> String {
        self.token(&format!("{role:?}"), role, stores, None)
    }

    pub(crate) fn customer(&self, id: &str) -> String {
        self.token(&format!("user of {id}"), Role::Customer, &[], Some(id.into()))
    }

    fn token(&self, subject: &str, role: Role, stores: &[&str], customer_id: Option<String>) -> String {
        let stores = stores.iter().map(|store| (*store).to_owned()).collect();
        let new = NewToken { subject: subject.into(), roles: vec![role], stores, customer_id, ttl_seconds: 60 };
        self.issuer.issue(new).expect("a token").token
    }

    /// Asks the first replica; gives status and body.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        self.ask(0, method, path, token, body, None).await
    }

    pub(crate) async fn keyed(&self, path: &str, token: &str, body: Value, key: &str) -> (u16, Value) {
        self.ask(0, "POST", path, token, Some(body), Some(key)).await
    }

    pub(crate) async fn ask(
        &self,
        replica: usize,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> (u16, Value) {
        let method = method.parse::<reqwest::Method>().expect("a method");
        let mut request = self.http.request(method, format!("http://{}{path}", self.at[replica]));
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

    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().expect("no panic before"));
    }

    /// Runs a statement on the store behind the service's back.
    pub(crate) async fn run(&self, text: &str) {
        let db = Db::open(&self.database, &Options::default(), None).await.expect("opens");
        let mut tx = db.write().await.expect("begins");
        query(text).execute(&mut tx).await.expect("runs");
        tx.commit().await.expect("commits");
        db.close().await;
    }

    /// All orders of the store.
    pub(crate) async fn orders(&self) -> Vec<order::audit::OrderFact> {
        order::audit::audit_facts(&self.database).await.expect("reads").orders
    }
}

async fn graphql(State(world): State<Shared>, Json(question): Json<Value>) -> Response {
    let world = world.lock().expect("no panic before");
    if world.catalogue_away {
        return Problem::new(Kind::Unavailable, "away").into_response();
    }
    let one = |id: &Value| {
        world.products.get(id.as_str()?).map(|(name, price, active)| {
            let price = commerce::Amount::from_minor(*price);
            json!({ "id": id, "name": name, "price": price, "currency": "EUR", "active": active })
        })
    };
    let found: Vec<Value> =
        question["variables"]["ids"].as_array().expect("ids").iter().map(|id| one(id).unwrap_or_default()).collect();
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

/// Two levels a page, so that whoever wants all must turn pages.
async fn levels(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let world = world.lock().expect("no panic before");
    if world.levels_away {
        return Problem::new(Kind::Unavailable, "away").into_response();
    }
    let query = query.unwrap_or_default();
    let asked = |name: &str| -> Vec<String> {
        query.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
    };
    let number = |name: &str| asked(name).first().and_then(|text| text.parse::<i64>().ok());
    let (places, products) = (asked("place_id"), asked("product_id"));
    let mut all: Vec<_> = world.shelf.iter().collect();
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
    let at = usize::try_from(number("cursor").unwrap_or(0)).expect("a place");
    let next = (at + 2 < chosen.len()).then(|| (at + 2).to_string());
    Json(json!({ "data": chosen.iter().skip(at).take(2).collect::<Vec<_>>(), "next_cursor": next })).into_response()
}

async fn neighbours(issuer: &Issuer, world: Shared) -> SocketAddr {
    let jwks = json!({ "keys": [issuer.jwk()] });
    let routes = Router::new()
        .route("/jwks.json", get(move || async move { Json(jwks) }))
        .route("/graphql", post(graphql))
        .route("/api/customers", get(customers))
        .route("/api/places/{id}", get(place))
        .route("/api/stock/levels", get(levels))
        .with_state(world);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

struct Shelf(Shared);

#[tonic::async_trait]
impl stock::stock_server::Stock for Shelf {
    async fn check(&self, _: Request<stock::CheckRequest>) -> Result<Answer<stock::CheckResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn reserve(&self, asked: Request<stock::ReserveRequest>) -> Result<Answer<stock::ReserveResponse>, Status> {
        let slowness = self.0.lock().expect("no panic before").slowness;
        tokio::time::sleep(slowness).await;
        let mut world = self.0.lock().expect("no panic before");
        let mut results = Vec::new();
        for order in asked.into_inner().orders {
            let known = world.held.contains_key(&order.order_id);
            let place = &order.place_id;
            let mut wanted: HashMap<&str, i64> = HashMap::new();
            for line in &order.lines {
                *wanted.entry(&line.product_id).or_default() += i64::from(line.quantity);
            }
            let there = |product: &str| world.shelf.get(&(place.clone(), product.to_owned())).copied().unwrap_or(0);
            let shortages: Vec<stock::Shortage> = wanted
                .iter()
                .filter(|(product, quantity)| !known && there(product) < **quantity)
                .map(|(product, quantity)| stock::Shortage {
                    product_id: (*product).to_owned(),
                    requested: u32::try_from(*quantity).expect("fits"),
                    available: u32::try_from(there(product)).expect("fits"),
                })
                .collect();
            let short = !shortages.is_empty();
            if !known && !short {
                let goods: Vec<_> = wanted.iter().map(|(p, q)| (place.clone(), (*p).to_owned(), *q)).collect();
                for (place, product, quantity) in &goods {
                    *world.shelf.entry((place.clone(), product.clone())).or_default() -= quantity;
                }
                world.held.insert(order.order_id.clone(), goods);
            }
            let outcome = if short { stock::ReserveOutcome::Short } else { stock::ReserveOutcome::Reserved };
            let (order_id, outcome) = (order.order_id, outcome.into());
            results.push(stock::ReserveResult { order_id, outcome, shortages, detail: String::new() });
        }
        Ok(Answer::new(stock::ReserveResponse { results }))
    }

    async fn release(&self, asked: Request<stock::ReleaseRequest>) -> Result<Answer<stock::ReleaseResponse>, Status> {
        let mut world = self.0.lock().expect("no panic before");
        let mut results = Vec::new();
        for order_id in asked.into_inner().order_ids {
            for (place, product, quantity) in world.held.remove(&order_id).unwrap_or_default() {
                *world.shelf.entry((place, product)).or_default() += quantity;
            }
            results.push(stock::HoldResult { order_id, state: stock::HoldState::Released.into() });
        }
        Ok(Answer::new(stock::ReleaseResponse { results }))
    }

    async fn commit(&self, _: Request<stock::CommitRequest>) -> Result<Answer<stock::CommitResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

struct Till(Shared);

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

type Operations = Result<Answer<payment::OperationResponse>, Status>;

#[tonic::async_trait]
impl payment::payments_server::Payments for Till {
    async fn authorize(&self, asked: Request<payment::AuthorizeRequest>) -> Operations {
        let mut world = self.0.lock().expect("no panic before");
        let one = |item: payment::Authorization| {
            let refused = world.limit.is_some_and(|limit| item.amount > limit);
            if !refused {
                let twice = world.charged.insert(item.order_id.clone(), item.amount);
                assert!(twice.is_none_or(|amount| amount == item.amount), "charged twice");
            }
            result(item.order_id, item.op_id, refused, if refused { "refused" } else { "captured" }, item.amount)
        };
        let results = asked.into_inner().items.into_iter().map(one).collect();
        Ok(Answer::new(payment::OperationResponse { results }))
    }

    async fn capture(&self, _: Request<payment::OperateRequest>) -> Operations {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn void(&self, asked: Request<payment::OperateRequest>) -> Operations {
        let mut world = self.0.lock().expect("no panic before");
        let one = |item: payment::Operation| {
            world.charged.remove(&item.order_id);
            result(item.order_id, item.op_id, false, "voided", 0)
        };
        let results = asked.into_inner().items.into_iter().map(one).collect();
        Ok(Answer::new(payment::OperationResponse { results }))
    }

    async fn refund(&self, asked: Request<payment::OperateRequest>) -> Operations {
        let one = |item: payment::Operation| result(item.order_id, item.op_id, false, "partly_refunded", item.amount);
        let results = asked.into_inner().items.into_iter().map(one).collect();
        Ok(Answer::new(payment::OperationResponse { results }))
    }

    async fn get(&self, _: Request<payment::GetRequest>) -> Result<Answer<payment::GetResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list(&self, _: Request<payment::ListRequest>) -> Result<Answer<payment::ListResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

async fn grpc(world: Shared) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder()
        .add_service(StockServer::new(Shelf(world.clone())))
        .add_service(payment::payments_server::PaymentsServer::new(Till(world)));
    tokio::spawn(async move { server.serve_with_incoming(incoming).await });
    address
}
