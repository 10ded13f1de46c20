//! Orders for dialects whose clients expect an order to be complete when they get the response, and send it again after an error.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chassis::backoff;
use commerce::{OrderId, Timestamp};
use http::{HeaderName, StatusCode};
use tokio::time::Instant;

use super::{
    api_client::{ApiClient, ApiRequest, ApiResponse},
    model::{Order, OrderStatus},
};

/// How long to wait for the end of a checkout.
const SETTLE_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(5) };
/// Longest pause between two reads of an order.
const POLL_PAUSE: Duration = Duration::from_millis(200);
/// How long requests to an unreachable service are repeated.
const RETRY_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };
/// Longest pause between two attempts to reach a service.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How long a withdrawal is repeated.
const WITHDRAWAL_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest pause between two attempts to withdraw an order.
const WITHDRAWAL_PAUSE: Duration = Duration::from_secs(5);

/// Until when a request that starts now is repeated while a service is unreachable.
pub(crate) fn retry_deadline() -> Instant {
    Instant::now() + RETRY_TIMEOUT
}

/// Repeats a call while a service is unreachable, until `deadline`.
pub(crate) async fn retry_while_unavailable<T, F: Future<Output = Result<T, ApiResponse>>>(
    deadline: Instant,
    call: impl Fn() -> F,
) -> Result<T, ApiResponse> {
    let mut pauses = backoff::pauses(RETRY_PAUSE);
    loop {
        match call().await {
            Err(response) if response.is_unavailable() && Instant::now() < deadline => {
                tokio::time::sleep(pauses.next().unwrap_or(RETRY_PAUSE)).await;
            }
            result => return result,
        }
    }
}

/// An order that is withdrawn unless it is acknowledged. A client that disconnects or gets an error sends another order, so the first
/// one must not stand. When this is dropped the order is withdrawn at once; if that fails, or this process dies, the order service
/// withdraws it after `acknowledge_seconds`.
pub(crate) struct PendingOrder<'a> {
    api: &'a ApiClient,
    id: &'a OrderId,
    acknowledge_by: String,
    /// Whether there is no order to withdraw, or it stays.
    is_settled: bool,
}

impl<'a> PendingOrder<'a> {
    /// An order that has not been sent yet.
    pub(crate) fn new(api: &'a ApiClient, id: &'a OrderId) -> Self {
        // The order service takes no deadline beyond ten minutes; the rest is for clocks that differ.
        let within = Duration::from_secs(api.gateway.config.acknowledge_seconds.clamp(1, 540));
        let acknowledge_by = Timestamp::now().plus(within).to_string();
        Self { api, id, acknowledge_by, is_settled: false }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &'a OrderId {
        self.id
    }

    /// The request that places the order, with the time until which it must be acknowledged.
    pub(crate) fn request<'b>(&self, request: ApiRequest<'b>) -> ApiRequest<'b> {
        request.header(HeaderName::from_static("acknowledge-by"), &self.acknowledge_by)
    }

    /// Does not withdraw the order at once: it was refused, or is cancelled.
    pub(crate) fn settle(mut self) {
        self.is_settled = true;
    }

    /// Keeps the order: the client gets its outcome. Fails if that cannot be stored, so that the client must get an error.
    pub(crate) async fn acknowledge(mut self) -> Result<(), ApiResponse> {
        let api = self.api.of_dialect();
        let acknowledged = retry_while_unavailable(retry_deadline(), async || {
            api.post(&["api", "orders", self.id.as_str(), "acknowledgement"]).send().await.check()
        });
        match acknowledged.await {
            Err(response) if !is_older_version(&response) => return Err(response),
            _ => self.is_settled = true,
        }
        Ok(())
    }

    /// Sends the order, again while no service answers; the id prevents a second order.
    async fn send(&mut self, request: impl Fn() -> ApiRequest<'a>) -> Result<Order, ApiResponse> {
        let failed = AtomicBool::new(false);
        let placed = retry_while_unavailable(retry_deadline(), async || {
            let placed = self.request(request()).send().await.ok();
            // A success that cannot be read is a failure too: the order may exist.
            let has_failed = placed.as_ref().is_err_and(|refusal: &ApiResponse| refusal.status.is_server_error());
            failed.fetch_or(has_failed, Ordering::Relaxed);
            placed
        });
        let placed = placed.await;
        // After a refusal there is no order; after a failure the refusal may concern the second attempt only.
        self.is_settled = placed.is_err() && !failed.into_inner();
        placed
    }
}

impl Drop for PendingOrder<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let (api, id) = (self.api.of_dialect(), self.id.clone());
        api.ctx.clone().spawn("withdrawal", async move {
            tokio::select! {
                () = api.ctx.shutdown.cancelled() => {}
                () = withdraw(&api, &id) => {}
            }
        });
    }
}

/// Withdraws an order, again while no service answers.
async fn withdraw(api: &ApiClient, id: &OrderId) {
    let (begin, mut pauses) = (Instant::now(), backoff::pauses(WITHDRAWAL_PAUSE));
    while begin.elapsed() < WITHDRAWAL_TIMEOUT {
        let order = |what: &str| api.post(&["api", "orders", id.as_str(), what]).send();
        let mut response = order("withdrawal").await;
        if is_older_version(&response) {
            response = order("cancel").await;
        }
        if !response.status.is_server_error() {
            tracing::info!(order = %id, status = response.status.as_u16(), "withdrew an order that was reported as failed");
            return;
        }
        tokio::time::sleep(pauses.next().unwrap_or(WITHDRAWAL_PAUSE)).await;
    }
    tracing::error!(order = %id, "could not withdraw an order that was reported as failed");
}

/// Whether an order service of an earlier version answered, which knows no withdrawals: it has no such route. During a rolling upgrade
/// both answer; remove this one release after 0.1.0.
fn is_older_version(response: &ApiResponse) -> bool {
    response.is_not_found() && response.code() != "order.not_found"
}

/// Places the order with this id.
pub(crate) async fn place<'a>(
    api: &'a ApiClient,
    id: &'a OrderId,
    request: impl Fn() -> ApiRequest<'a>,
) -> Result<(), ApiResponse> {
    let mut pending = PendingOrder::new(api, id);
    pending.send(request).await?;
    pending.acknowledge().await
}

/// Places the order with this id and reads it.
pub(crate) async fn place_and_get<'a>(
    api: &'a ApiClient,
    id: &'a OrderId,
    request: impl Fn() -> ApiRequest<'a>,
) -> Result<Order, ApiResponse> {
    let mut pending = PendingOrder::new(api, id);
    pending.send(request).await?;
    let order = retry_while_unavailable(retry_deadline(), || get(api, id.as_str())).await?;
    pending.acknowledge().await?;
    Ok(order)
}

/// Places the order with this id and waits for its outcome. A cancelled order is a conflict with the reason as its detail; an order
/// without an outcome in time is withdrawn. `finish` makes the client's response; if it fails, the order is withdrawn too.
pub(crate) async fn place_and_settle<'a, T, E: From<ApiResponse>>(
    api: &'a ApiClient,
    id: &'a OrderId,
    request: impl Fn() -> ApiRequest<'a>,
    finish: impl AsyncFnOnce(Order) -> Result<T, E>,
) -> Result<T, E> {
    let mut pending = PendingOrder::new(api, id);
    let mut order = pending.send(request).await?;
    if order.status == OrderStatus::Pending {
        order = wait_until_settled(api, id.as_str()).await?;
    }
    match order.status {
        OrderStatus::Cancelled => {
            pending.settle();
            let detail = order.reason.unwrap_or_default();
            return Err(ApiResponse::refusal(StatusCode::CONFLICT, &detail).into());
        }
        OrderStatus::Pending => {
            let detail = "It takes too long and is withdrawn; try again.";
            return Err(ApiResponse::refusal(StatusCode::SERVICE_UNAVAILABLE, detail).into());
        }
        _ => {}
    }
    let finished = finish(order).await?;
    pending.acknowledge().await?;
    Ok(finished)
}

/// An order that is not archived.
pub(crate) async fn get(api: &ApiClient, id: &str) -> Result<Order, ApiResponse> {
    let order: Order = api.get(&["api", "orders", id]).send().await.ok()?;
    if order.archived { Err(ApiResponse::refusal(StatusCode::NOT_FOUND, "")) } else { Ok(order) }
}

/// The order after the end of its checkout, or as it is after a timeout.
pub(crate) async fn wait_until_settled(api: &ApiClient, id: &str) -> Result<Order, ApiResponse> {
    let (begin, mut pauses) = (Instant::now(), backoff::pauses(POLL_PAUSE));
    loop {
        let order = get(api, id).await;
        let is_open = match &order {
            Ok(order) => order.status == OrderStatus::Pending,
            Err(response) => response.is_unavailable(),
        };
        if !is_open || begin.elapsed() > SETTLE_TIMEOUT {
            return order;
        }
        tokio::time::sleep(pauses.next().unwrap_or(POLL_PAUSE)).await;
    }
}

/// Cancels an order if it can be cancelled, so that its stock is released, and archives it. It stays in the accounts.
pub(crate) async fn discard(api: &ApiClient, id: &str) -> Result<(), ApiResponse> {
    let order = wait_until_settled(api, id).await?;
    if matches!(order.status, OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Processing) {
        let cancelled = api.post(&["api", "orders", id, "cancel"]).send().await;
        // An order with returned goods cannot be cancelled, but it can be archived.
        if !cancelled.status.is_success() && cancelled.status != StatusCode::CONFLICT {
            return Err(cancelled);
        }
        wait_until_settled(api, id).await?;
    }
    api.delete(&["api", "orders", id]).send().await.check().map(drop)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{Arc, Mutex},
    };

    use axum::{
        Json, Router,
        extract::{Path, State},
        routing::{get, post},
    };
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;

    /// An order service that accepts orders, but answers the first `silent` requests with a timeout.
    #[derive(Clone, Default)]
    struct FakeFleet {
        orders: Arc<Mutex<HashMap<String, &'static str>>>,
        silent: Arc<Mutex<u32>>,
        acknowledged: Arc<Mutex<Vec<String>>>,
        begins: &'static str,
        /// Whether the response to an order has an unknown shape.
        is_unreadable: bool,
    }

    impl FakeFleet {
        fn new(begins: &'static str, silent: u32) -> Self {
            Self { silent: Arc::new(Mutex::new(silent)), begins, ..Self::default() }
        }

        fn api(&self) -> ApiClient {
            let api = Router::new()
                .route("/api/orders", post(Self::place))
                .route("/api/orders/{id}", get(Self::show))
                .route("/api/orders/{id}/withdrawal", post(Self::withdraw))
                .route("/api/orders/{id}/acknowledgement", post(Self::acknowledge))
                .with_state(self.clone());
            ApiClient::of_routes(api, crate::Config::default())
        }

        async fn place(
            State(fleet): State<Self>,
            headers: HeaderMap,
            Json(body): Json<Value>,
        ) -> (StatusCode, Json<Value>) {
            assert!(headers.contains_key("acknowledge-by"), "it would stand if this process died");
            let id = body["id"].as_str().expect("an id").to_owned();
            let mut orders = fleet.orders.lock().expect("a lock");
            let status = *orders.entry(id.clone()).or_insert(fleet.begins);
            let mut silent = fleet.silent.lock().expect("a lock");
            if *silent > 0 {
                *silent -= 1;
                return (StatusCode::GATEWAY_TIMEOUT, Json(Value::Null));
            }
            let lines = if fleet.is_unreadable { json!("none") } else { json!([]) };
            (StatusCode::CREATED, Json(json!({"id": id, "status": status, "lines": lines})))
        }

        async fn show(State(fleet): State<Self>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
            match fleet.orders.lock().expect("a lock").get(&id) {
                Some(status) => {
                    (StatusCode::OK, Json(json!({"id": id, "status": status, "reason": "not enough stock"})))
                }
                None => (StatusCode::NOT_FOUND, Json(Value::Null)),
            }
        }

        async fn withdraw(State(fleet): State<Self>, Path(id): Path<String>) -> StatusCode {
            fleet.orders.lock().expect("a lock").insert(id, "withdrawn");
            StatusCode::NO_CONTENT
        }

        async fn acknowledge(State(fleet): State<Self>, Path(id): Path<String>) -> StatusCode {
            match fleet.orders.lock().expect("a lock").get_mut(&id) {
                Some(&mut "withdrawn") => StatusCode::CONFLICT,
                Some(status) => {
                    fleet.acknowledged.lock().expect("a lock").push(id.clone());
                    *status = "confirmed";
                    StatusCode::NO_CONTENT
                }
                None => StatusCode::NOT_FOUND,
            }
        }

        fn statuses(&self) -> Vec<&'static str> {
            self.orders.lock().expect("a lock").values().copied().collect()
        }

        async fn sell(&self) -> Result<Order, ApiResponse> {
            let (api, id) = (self.api(), OrderId::new());
            let body = json!({ "id": id });
            place_and_settle(&api, &id, || api.post(&["api", "orders"]).json(&body), async |order| Ok(order)).await
        }
    }

    async fn becomes(fleet: &FakeFleet, status: &str) -> bool {
        for _ in 0..100 {
            if fleet.statuses() == [status] {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn is_withdrawn(fleet: &FakeFleet) -> bool {
        becomes(fleet, "withdrawn").await && fleet.acknowledged.lock().expect("a lock").is_empty()
    }

    #[tokio::test]
    async fn an_order_of_which_its_client_cannot_be_told_does_not_stand() {
        for begins in ["confirmed", "delivered"] {
            let fleet = FakeFleet::new(begins, 0);
            let (api, id) = (fleet.api(), OrderId::new());
            let body = json!({ "id": id });
            let request = || api.post(&["api", "orders"]).json(&body);
            let unavailable = || ApiResponse::refusal(StatusCode::SERVICE_UNAVAILABLE, "");
            let result: Result<Order, ApiResponse> =
                place_and_settle(&api, &id, request, async |_| Err(unavailable())).await;
            assert!(result.is_err());
            assert!(is_withdrawn(&fleet).await, "{:?}", fleet.statuses());
        }
    }

    #[tokio::test]
    async fn an_order_whose_client_hangs_up_does_not_stand() {
        let fleet = FakeFleet::new("pending", 0);
        let hung_up = tokio::time::timeout(Duration::from_millis(50), fleet.sell()).await;
        assert!(hung_up.is_err(), "it is still waited for");
        assert!(is_withdrawn(&fleet).await, "{:?}", fleet.statuses());
    }

    #[tokio::test]
    async fn an_order_that_nobody_answered_for_is_sent_again_and_is_one() {
        let fleet = FakeFleet::new("confirmed", 2);
        assert_eq!(fleet.sell().await.expect("it is sold").status, OrderStatus::Confirmed);
        assert_eq!((fleet.statuses(), fleet.acknowledged.lock().expect("a lock").len()), (vec!["confirmed"], 1));
    }

    #[tokio::test]
    async fn an_order_whose_client_hears_of_no_order_does_not_stand() {
        let fleet = FakeFleet::new("confirmed", u32::MAX);
        let response = fleet.sell().await.expect_err("nobody answers");
        assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(is_withdrawn(&fleet).await, "{:?}", fleet.statuses());
    }

    #[tokio::test]
    async fn an_order_whose_response_cannot_be_read_does_not_stand() {
        let fleet = FakeFleet { is_unreadable: true, ..FakeFleet::new("confirmed", 0) };
        let response = fleet.sell().await.expect_err("it cannot be read");
        assert_eq!(response.status, StatusCode::BAD_GATEWAY);
        assert!(is_withdrawn(&fleet).await, "{:?}", fleet.statuses());
    }

    #[tokio::test]
    async fn a_sale_without_an_end_is_withdrawn_and_one_that_is_cancelled_is_a_conflict() {
        let fleet = FakeFleet::new("pending", 0);
        let response = fleet.sell().await.expect_err("it has no end");
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(is_withdrawn(&fleet).await, "{:?}", fleet.statuses());

        let fleet = FakeFleet::new("pending", 0);
        let (selling, cancelling) = tokio::join!(fleet.sell(), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            fleet.orders.lock().expect("a lock").values_mut().for_each(|status| *status = "cancelled");
        });
        let () = cancelling;
        let response = selling.expect_err("it is cancelled");
        assert_eq!((response.status, response.detail()), (StatusCode::CONFLICT, "not enough stock"));
    }
}
