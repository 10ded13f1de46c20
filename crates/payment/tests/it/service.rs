//! A running payment service with its own store, tokens to call it, and a fake order service.

use std::net::SocketAddr;

use auth::{AuthConfig, InternalKey, Issuer, NewToken, Role};
use axum::{
    Json, Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use chassis::{Context, CrashPoints, Listeners};
use payment::{Config, Payment};
use proto::{
    legacy::{PaymentRequest, payment_service_client::PaymentServiceClient},
    payment::v1::{
        Authorization, AuthorizeRequest, OperateRequest, Operation, OperationResult, Outcome,
        payments_client::PaymentsClient,
    },
};
use service::Common;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, transport::Channel};

pub(crate) struct TestService {
    pub(crate) database: String,
    pub(crate) channel: Channel,
    pub(crate) http: SocketAddr,
    dir: tempfile::TempDir,
    key: InternalKey,
    issuer: Issuer,
    config: Config,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

/// The answer of the fake order service: an id like `pending-1` names the status of an order; other orders do not exist.
fn order(id: &str) -> Response {
    match id.split_once('-') {
        Some((status @ ("pending" | "cancelled"), _)) => {
            Json(serde_json::json!({"id": id, "status": status})).into_response()
        }
        _ => chassis::Problem::not_found("order").into_response(),
    }
}

impl TestService {
    pub(crate) async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let key = InternalKey::generate().expect("a key");
        let issuer = Issuer::generate("test").expect("a key");
        let jwks = serde_json::json!({ "keys": [issuer.jwk()] });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut config = Config {
            common: Common {
                database_url: testkit::url(&dir, "payment").await.expect("a database"),
                bus_url: format!("embedded:{}", dir.path().join("bus.db").display()),
                auth: AuthConfig {
                    issuer: "test".into(),
                    jwks_url: format!("http://{}/jwks.json", listener.local_addr().expect("an address")),
                    internal_key: key.to_secret(),
                    ..AuthConfig::default()
                },
                ..Common::default()
            },
            ..Config::default()
        };
        config.order_url = config.common.auth.jwks_url.replace("/jwks.json", "");
        change(&mut config);
        let keys = Router::new()
            .route("/jwks.json", get(move || async move { Json(jwks) }))
            .route("/api/orders/{id}", get(async |Path(id): Path<String>| order(&id)));
        tokio::spawn(async move { axum::serve(listener, keys).await });
        Self::serve(dir, key, issuer, config).await
    }

    async fn serve(dir: tempfile::TempDir, key: InternalKey, issuer: Issuer, config: Config) -> Self {
        let shutdown = CancellationToken::new();
        let ctx = Context::new(payment::NAME, "test", shutdown.clone(), CrashPoints::none());
        let app = service::start::<Payment>(config.clone(), ctx.clone()).await.expect("starts");
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (http, grpc) = (bind().await.expect("a port"), bind().await.expect("a port"));
        let address = grpc.local_addr().expect("an address");
        let http_address = http.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            let listeners = Listeners { http, grpc: Some(grpc) };
            chassis::serve(app, &ctx, listeners).await.expect("serves");
        });
        let channel = Channel::from_shared(format!("http://{address}")).expect("a URL");
        Self {
            database: config.common.database_url.clone(),
            channel: channel.connect().await.expect("connects"),
            http: http_address,
            dir,
            key,
            issuer,
            config,
            shutdown,
            served,
        }
    }

    /// Stops the service and starts it again on the same store, with another configuration.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { dir, key, issuer, mut config, shutdown, served, channel, .. } = self;
        drop(channel);
        shutdown.cancel();
        served.await.expect("stops");
        change(&mut config);
        Self::serve(dir, key, issuer, config).await
    }

    pub(crate) fn service_token(&self) -> String {
        self.key.mint("test").expect("a token")
    }

    pub(crate) fn user_token(&self, role: Role) -> String {
        let new =
            NewToken { subject: "u".into(), roles: vec![role], stores: Vec::new(), customer_id: None, ttl_seconds: 60 };
        self.issuer.issue(new).expect("a token").token
    }

    pub(crate) fn client(&self) -> PaymentsClient<Channel> {
        PaymentsClient::new(self.channel.clone())
    }

    pub(crate) async fn authorize(&self, items: Vec<Authorization>) -> Vec<OperationResult> {
        let request = with(AuthorizeRequest { items }, &self.service_token());
        self.client().authorize(request).await.expect("answers").into_inner().results
    }

    pub(crate) async fn charge(&self, order_id: &str, amount: i64) -> OperationResult {
        one(self.authorize(vec![card(order_id, amount)]).await)
    }

    pub(crate) async fn void(&self, order_id: &str) -> OperationResult {
        let request = with(operate(order_id, "v", 0), &self.service_token());
        one(self.client().void(request).await.expect("answers").into_inner().results)
    }

    pub(crate) async fn refund(&self, order_id: &str, op_id: &str, amount: i64) -> OperationResult {
        let request = with(operate(order_id, op_id, amount), &self.service_token());
        one(self.client().refund(request).await.expect("answers").into_inner().results)
    }

    pub(crate) async fn refund_up_to(&self, order_id: &str, op_id: &str, amount: i64) -> OperationResult {
        let mut request = operate(order_id, op_id, amount);
        request.items[0].up_to = true;
        let request = with(request, &self.service_token());
        one(self.client().refund(request).await.expect("answers").into_inner().results)
    }

    pub(crate) async fn pay(&self, order_id: &str, amount: f32) -> Result<String, Status> {
        let request = PaymentRequest { order_id: order_id.into(), amount };
        let mut client = PaymentServiceClient::new(self.channel.clone());
        Ok(client.pay(request).await?.into_inner().status)
    }

    /// The kinds and sequences of the events about an order.
    pub(crate) async fn events_of(&self, order_id: &str) -> Vec<(String, i64)> {
        let facts = payment::audit_facts(&self.database).await.expect("reads");
        let of_order = facts.outbox.events.iter().filter(|event| event.subject == order_id);
        of_order
            .map(|event| {
                let body: serde_json::Value = serde_json::from_str(&event.payload).expect("JSON");
                (body["type"].as_str().expect("a type").to_owned(), event.sequence)
            })
            .collect()
    }

    /// The text of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.http).await.expect("connects");
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    /// The stored status, captured and refunded amount of an order's payment.
    pub(crate) async fn totals_of(&self, order_id: &str) -> (&'static str, i64, i64) {
        let facts = payment::audit_facts(&self.database).await.expect("reads");
        let mut of_order = facts.payments.iter().filter(|payment| payment.order_id == order_id);
        let fact = of_order.next().expect("a payment");
        assert!(of_order.next().is_none());
        (fact.status, fact.captured, fact.refunded)
    }
}

pub(crate) fn with<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("metadata");
    request.metadata_mut().insert("authorization", value);
    request
}

pub(crate) fn card(order_id: &str, amount: i64) -> Authorization {
    Authorization {
        order_id: order_id.into(),
        op_id: "a".into(),
        amount,
        currency: "EUR".into(),
        customer_id: "c1".into(),
        method: "card".into(),
        capture: true,
    }
}

pub(crate) fn operate(order_id: &str, op_id: &str, amount: i64) -> OperateRequest {
    let item = Operation { order_id: order_id.into(), op_id: op_id.into(), amount, ..Operation::default() };
    OperateRequest { items: vec![item] }
}

pub(crate) fn one(mut results: Vec<OperationResult>) -> OperationResult {
    assert_eq!(results.len(), 1);
    results.remove(0)
}

pub(crate) fn outcome(result: &OperationResult) -> Outcome {
    result.outcome()
}
