//! A running payment service with its own store, tokens to call it, and a fake order service.

use auth::Role;
use axum::{
    Json, Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use payment::{Config, Payment};
use proto::{
    legacy::{PaymentRequest, payment_service_client::PaymentServiceClient},
    payment::v1::{
        Authorization, AuthorizeRequest, OperateRequest, Operation, OperationResult, Outcome,
        payments_client::PaymentsClient,
    },
};
use tonic::{Request, Status, transport::Channel};

pub(crate) struct TestService {
    pub(crate) channel: Channel,
    running: testkit::TestService<Payment>,
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
        let orders = Router::new().route("/api/orders/{id}", get(async |Path(id): Path<String>| order(&id)));
        let order_url = testkit::serve_routes(orders).await.expect("serves");
        let running = testkit::TestService::start(|config: &mut Config| {
            config.order_url = order_url;
            change(config);
        });
        Self::of(running.await.expect("starts")).await
    }

    async fn of(running: testkit::TestService<Payment>) -> Self {
        let channel = Channel::from_shared(format!("http://{}", running.grpc)).expect("a URL");
        Self { channel: channel.connect().await.expect("connects"), running }
    }

    /// Stops the service and starts it again on the same store, with another configuration.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { running, channel } = self;
        drop(channel);
        Self::of(running.restart(change).await.expect("restarts")).await
    }

    /// The URL of its store.
    pub(crate) fn database(&self) -> &str {
        &self.running.config.common.database_url
    }

    pub(crate) fn service_token(&self) -> String {
        self.running.identity.of_service("test").expect("a token")
    }

    pub(crate) fn user_token(&self, role: Role) -> String {
        self.running.identity.of_role(role).expect("a token")
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
        let facts = payment::audit_facts(self.database()).await.expect("reads");
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
        self.running.metrics().await.expect("answers")
    }

    /// The stored status, captured and refunded amount of an order's payment.
    pub(crate) async fn totals_of(&self, order_id: &str) -> (&'static str, i64, i64) {
        let facts = payment::audit_facts(self.database()).await.expect("reads");
        let mut of_order = facts.payments.iter().filter(|payment| payment.order_id == order_id);
        let fact = of_order.next().expect("a payment");
        assert!(of_order.next().is_none());
        (fact.status, fact.captured, fact.refunded)
    }
}

pub(crate) fn with<T>(message: T, token: &str) -> Request<T> {
    testkit::with_token(message, token).expect("a token")
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
