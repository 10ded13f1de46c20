//! What dialects share about orders: whose clients expect them to be done with at once, and send them again when they hear that
//! one failed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chassis::backoff;
use commerce::OrderId;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api_client::{ApiClient, ApiRequest, ApiResponse};

/// How long to wait for the end of a checkout.
const SETTLES: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(5) };
/// Longest pause between two looks at it.
const LOOK: Duration = Duration::from_millis(200);
/// How long services that are away are asked again.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };
/// Longest pause before a service that is away is asked again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long what was sent for an order may still make it, though nobody waits for the answer.
const LATE: Duration = Duration::from_secs(15);
/// How long a withdrawal is tried, and how often at most.
const WITHDRAWING: Duration = Duration::from_secs(600);
const BETWEEN: Duration = Duration::from_secs(5);

/// Until when a call that comes now has patience with services that are away.
pub(crate) fn retry_deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Asks again as long as a service is away and there is time.
pub(crate) async fn retry_while_unavailable<T, F: Future<Output = Result<T, ApiResponse>>>(
    until: Instant,
    request: impl Fn() -> F,
) -> Result<T, ApiResponse> {
    let mut pauses = backoff::pauses(LONGEST_PAUSE);
    loop {
        match request().await {
            Err(response) if response.is_unavailable() && Instant::now() < until => {
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
            response => return response,
        }
    }
}

/// An order that is withdrawn when this is dropped, unless its client hears what has become of it: he may hang up meanwhile, or
/// hear of an error, and will send another.
pub(crate) struct CancelOnDrop<'a> {
    api: &'a ApiClient,
    id: &'a OrderId,
    is_disarmed: bool,
}

impl<'a> CancelOnDrop<'a> {
    /// Made before the order is sent.
    pub(crate) fn new(api: &'a ApiClient, id: &'a OrderId) -> Self {
        Self { api, id, is_disarmed: false }
    }

    /// Its client hears what has become of it.
    pub(crate) fn disarm(mut self) {
        self.is_disarmed = true;
    }

    /// Sends it. While nobody answers who knows, it is sent again, which never makes a second one.
    async fn send(&mut self, request: impl Fn() -> ApiRequest<'a>) -> Result<Value, ApiResponse> {
        let failed = AtomicBool::new(false);
        let placed = retry_while_unavailable(retry_deadline(), async || {
            let response = request().send().await;
            failed.fetch_or(response.status.is_server_error(), Ordering::Relaxed);
            response.ok()
        });
        let placed = placed.await;
        // A refusal says that there is no such order; after a failure it may be about the second try only.
        self.is_disarmed = placed.is_err() && !failed.into_inner();
        placed
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_disarmed {
            withdraw(self.api, self.id);
        }
    }
}

/// Sends an order of this id.
pub(crate) async fn place<'a>(
    api: &'a ApiClient,
    id: &'a OrderId,
    request: impl Fn() -> ApiRequest<'a>,
) -> Result<Value, ApiResponse> {
    let mut guard = CancelOnDrop::new(api, id);
    let placed = guard.send(request).await?;
    guard.disarm();
    Ok(placed)
}

/// The same, and then the order as it is.
pub(crate) async fn place_and_get<'a>(
    api: &'a ApiClient,
    id: &'a OrderId,
    request: impl Fn() -> ApiRequest<'a>,
) -> Result<Value, ApiResponse> {
    let mut guard = CancelOnDrop::new(api, id);
    guard.send(request).await?;
    let order = retry_while_unavailable(retry_deadline(), async || get(api, id.as_str()).await.ok()).await?;
    guard.disarm();
    Ok(order)
}

/// The same, and waits for its end. An order that is cancelled is a conflict, with the reason; one that has no end in time is
/// withdrawn. `told` makes the client's answer of it: as long as that fails he hears of an error, too.
pub(crate) async fn place_and_settle<'a, T, E: From<ApiResponse>>(
    api: &'a ApiClient,
    id: &'a OrderId,
    request: impl Fn() -> ApiRequest<'a>,
    told: impl AsyncFnOnce(Value) -> Result<T, E>,
) -> Result<T, E> {
    let mut guard = CancelOnDrop::new(api, id);
    let mut order = guard.send(request).await?;
    if order["status"] == "pending" {
        order = wait_until_settled(api, id.as_str()).await.ok()?;
    }
    let refusal = |status, detail: &Value| ApiResponse { status, body: json!({ "detail": detail }) };
    match order["status"].as_str() {
        Some("cancelled") => {
            guard.disarm();
            return Err(refusal(StatusCode::CONFLICT, &order["reason"]).into());
        }
        Some("pending") => {
            let late = json!("It takes too long and is withdrawn; try again.");
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, &late).into());
        }
        _ => {}
    }
    let told = told(order).await?;
    guard.disarm();
    Ok(told)
}

/// Cancels an order that its client was told had failed, whatever has become of it, as soon as the house hears of it; goods that
/// have left come back.
fn withdraw(api: &ApiClient, id: &OrderId) {
    let Ok(leave) = api.withdrawals.clone().try_acquire_owned() else {
        tracing::error!(order = %id, "too many orders to withdraw: its client was told that it failed, and it may stand");
        return;
    };
    let (api, id) = (api.of_dialect(), id.clone());
    api.ctx.clone().spawn("withdrawal", async move {
        let (begun, mut pauses) = (Instant::now(), backoff::pauses(BETWEEN));
        while begun.elapsed() < WITHDRAWING {
            match cancel_or_return(&api, &id).await {
                StatusCode::NOT_FOUND if begun.elapsed() < LATE => {}
                StatusCode::NOT_FOUND => return,
                status if status.is_success() => {
                    tracing::info!(order = %id, "withdrawn: its client was told that it failed");
                    return;
                }
                _ => {}
            }
            tokio::select! {
                () = api.ctx.shutdown.cancelled() => break,
                () = tokio::time::sleep(pauses.next().unwrap_or(BETWEEN)) => {}
            }
        }
        tracing::error!(order = %id, "not withdrawn: its client was told that it failed, and it may stand");
        drop(leave);
    });
}

/// Cancels an order, or takes everything back of one that has left.
async fn cancel_or_return(api: &ApiClient, id: &OrderId) -> StatusCode {
    let reason = "its client was told that it failed";
    let cancel = api.post(&["api", "orders", id.as_str(), "cancel"]).json(json!({ "reason": reason }));
    let cancelled = cancel.send().await.status;
    if cancelled != StatusCode::CONFLICT {
        return cancelled;
    }
    let order = api.get(&["api", "orders", id.as_str()]).send().await;
    let lines: Vec<Value> = order.body["lines"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| json!({"line_id": line["line_id"], "quantity": line["quantity"]}))
        .collect();
    if !order.status.is_success() || !matches!(order.body["status"].as_str(), Some("shipped" | "delivered")) {
        return cancelled;
    }
    let back = json!({"id": format!("withdrawn-{id}"), "lines": lines, "restock": true, "reason": reason});
    api.post(&["api", "orders", id.as_str(), "returns"]).json(back).send().await.status
}

/// An order that is in sight.
pub(crate) async fn get(api: &ApiClient, id: &str) -> ApiResponse {
    let mut response = api.get(&["api", "orders", id]).send().await;
    if response.body["archived"] == true {
        response.status = StatusCode::NOT_FOUND;
    }
    response
}

/// The order, when its checkout has come to an end or it takes too long.
pub(crate) async fn wait_until_settled(api: &ApiClient, id: &str) -> ApiResponse {
    let (begun, mut pauses) = (Instant::now(), backoff::pauses(LOOK));
    loop {
        let order = get(api, id).await;
        let is_open = order.is_unavailable() || order.body["status"] == "pending";
        if !is_open || begun.elapsed() > SETTLES {
            return order;
        }
        tokio::time::sleep(pauses.next().unwrap_or(LOOK)).await;
    }
}

/// Cancels an order first if it may be, so that goods go back; then puts it out of sight. The accounts keep it.
pub(crate) async fn discard(api: &ApiClient, id: &str) -> Result<(), ApiResponse> {
    let order = wait_until_settled(api, id).await.ok()?;
    if matches!(order["status"].as_str(), Some("pending" | "confirmed" | "processing")) {
        let cancelled = api.post(&["api", "orders", id, "cancel"]).send().await;
        // Goods that came back already keep it from being cancelled, and from nothing else.
        if !cancelled.status.is_success() && cancelled.status != StatusCode::CONFLICT {
            return Err(cancelled);
        }
        wait_until_settled(api, id).await.ok()?;
    }
    api.delete(&["api", "orders", id]).send().await.ok().map(drop)
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

    use super::*;

    /// A house in which orders stand although whoever placed them hears nothing of it so many times.
    #[derive(Clone, Default)]
    struct FakeFleet {
        orders: Arc<Mutex<HashMap<String, &'static str>>>,
        silent: Arc<Mutex<u32>>,
        begins: &'static str,
    }

    impl FakeFleet {
        fn new(begins: &'static str, silent: u32) -> Self {
            Self { silent: Arc::new(Mutex::new(silent)), begins, ..Self::default() }
        }

        fn api(&self) -> ApiClient {
            let api = Router::new()
                .route("/api/orders", post(Self::place))
                .route("/api/orders/{id}", get(Self::show))
                .route("/api/orders/{id}/cancel", post(Self::cancel))
                .route("/api/orders/{id}/returns", post(Self::take_back))
                .with_state(self.clone());
            ApiClient::of_routes(api, crate::Config::default())
        }

        async fn place(State(fleet): State<Self>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
            let id = body["id"].as_str().expect("an id").to_owned();
            let mut orders = fleet.orders.lock().expect("a lock");
            let status = *orders.entry(id.clone()).or_insert(fleet.begins);
            let mut silent = fleet.silent.lock().expect("a lock");
            if *silent > 0 {
                *silent -= 1;
                return (StatusCode::GATEWAY_TIMEOUT, Json(Value::Null));
            }
            (StatusCode::CREATED, Json(json!({"id": id, "status": status})))
        }

        async fn show(State(fleet): State<Self>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
            match fleet.orders.lock().expect("a lock").get(&id) {
                Some(status) => {
                    (StatusCode::OK, Json(json!({"id": id, "status": status, "reason": "not enough stock"})))
                }
                None => (StatusCode::NOT_FOUND, Json(Value::Null)),
            }
        }

        async fn cancel(State(fleet): State<Self>, Path(id): Path<String>) -> StatusCode {
            match fleet.orders.lock().expect("a lock").get_mut(&id) {
                Some(&mut "delivered") => StatusCode::CONFLICT,
                Some(status) => {
                    *status = "cancelled";
                    StatusCode::OK
                }
                None => StatusCode::NOT_FOUND,
            }
        }

        async fn take_back(State(fleet): State<Self>, Path(id): Path<String>) -> StatusCode {
            fleet.orders.lock().expect("a lock").insert(id, "returned");
            StatusCode::CREATED
        }

        fn statuses(&self) -> Vec<&'static str> {
            self.orders.lock().expect("a lock").values().copied().collect()
        }

        async fn sell(&self) -> Result<Value, ApiResponse> {
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

    async fn all_cancelled(fleet: &FakeFleet) -> bool {
        becomes(fleet, "cancelled").await
    }

    #[tokio::test]
    async fn an_order_of_which_its_client_cannot_be_told_does_not_stand() {
        for (begins, ends) in [("confirmed", "cancelled"), ("delivered", "returned")] {
            let fleet = FakeFleet::new(begins, 0);
            let (api, id) = (fleet.api(), OrderId::new());
            let body = json!({ "id": id });
            let request = || api.post(&["api", "orders"]).json(&body);
            let away = || ApiResponse { status: StatusCode::SERVICE_UNAVAILABLE, body: Value::Null };
            let told: Result<Value, ApiResponse> = place_and_settle(&api, &id, request, async |_| Err(away())).await;
            assert!(told.is_err());
            assert!(becomes(&fleet, ends).await, "{:?}", fleet.statuses());
        }
    }

    #[tokio::test]
    async fn an_order_whose_client_hangs_up_does_not_stand() {
        let fleet = FakeFleet::new("pending", 0);
        let hung_up = tokio::time::timeout(Duration::from_millis(50), fleet.sell()).await;
        assert!(hung_up.is_err(), "it is still waited for");
        assert!(all_cancelled(&fleet).await, "{:?}", fleet.statuses());
    }

    #[tokio::test]
    async fn an_order_that_nobody_answered_for_is_sent_again_and_is_one() {
        let fleet = FakeFleet::new("confirmed", 2);
        assert_eq!(fleet.sell().await.expect("it is sold")["status"], "confirmed");
        assert_eq!(fleet.statuses(), ["confirmed"]);
    }

    #[tokio::test]
    async fn an_order_whose_client_hears_of_no_order_does_not_stand() {
        let fleet = FakeFleet::new("confirmed", u32::MAX);
        let response = fleet.sell().await.expect_err("nobody answers");
        assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(all_cancelled(&fleet).await, "{:?}", fleet.statuses());
    }

    #[tokio::test]
    async fn a_sale_without_an_end_is_withdrawn_and_one_that_is_cancelled_is_a_conflict() {
        let fleet = FakeFleet::new("pending", 0);
        let response = fleet.sell().await.expect_err("it has no end");
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(all_cancelled(&fleet).await, "{:?}", fleet.statuses());

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
