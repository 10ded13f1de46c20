//! What dialects share about orders: whose clients expect them to be done with at once, and send them again when they hear that
//! one failed.

use std::time::Duration;

use chassis::backoff;
use commerce::OrderId;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::desk::{Answer, Ask, Desk};

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
pub(crate) fn patience() -> Instant {
    Instant::now() + PATIENCE
}

/// Asks again as long as a service is away and there is time.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Answer>>>(
    until: Instant,
    ask: impl Fn() -> F,
) -> Result<T, Answer> {
    let mut pauses = backoff::pauses(LONGEST_PAUSE);
    loop {
        match ask().await {
            Err(answer) if answer.is_away() && Instant::now() < until => {
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
            answer => return answer,
        }
    }
}

/// Sends an order, or a sale, of this id. While nobody answers who knows, it is sent again, which never makes a second one; one
/// that nobody knows of in the end is withdrawn, since its client will send another.
pub(crate) async fn place<'a>(desk: &Desk, id: &OrderId, ask: impl Fn() -> Ask<'a>) -> Result<Value, Answer> {
    let placed = patiently(patience(), async || ask().send().await.ok()).await;
    if placed.as_ref().is_err_and(Answer::is_away) {
        withdraw(desk, id);
    }
    placed
}

/// The same, and then the order as it is.
pub(crate) async fn placed<'a>(desk: &Desk, id: &OrderId, ask: impl Fn() -> Ask<'a>) -> Result<Value, Answer> {
    place(desk, id, ask).await?;
    let order = patiently(patience(), async || get(desk, id.as_str()).await.ok()).await;
    if order.is_err() {
        withdraw(desk, id);
    }
    order
}

/// The same, and waits for its end. An order that is cancelled is a conflict, with the reason. One that has no end in time is
/// withdrawn.
pub(crate) async fn sold<'a>(desk: &Desk, id: &OrderId, ask: impl Fn() -> Ask<'a>) -> Result<Value, Answer> {
    let placed = place(desk, id, ask).await?;
    if placed["status"] != "pending" {
        return Ok(placed);
    }
    let failed = match settled(desk, id.as_str()).await.ok() {
        Ok(order) if order["status"] == "cancelled" => {
            return Err(Answer { status: StatusCode::CONFLICT, body: json!({"detail": order["reason"]}) });
        }
        Ok(order) if order["status"] != "pending" => return Ok(order),
        Ok(_) => {
            let body = json!({"detail": "It takes too long and is withdrawn; try again."});
            Answer { status: StatusCode::SERVICE_UNAVAILABLE, body }
        }
        Err(answer) => answer,
    };
    withdraw(desk, id);
    Err(failed)
}

/// Cancels an order that its client was told had failed, whatever has become of it, as soon as the house hears of it.
pub(crate) fn withdraw(desk: &Desk, id: &OrderId) {
    let Ok(leave) = desk.withdrawals.clone().try_acquire_owned() else {
        tracing::error!(order = %id, "too many orders to withdraw: its client was told that it failed, and it may stand");
        return;
    };
    let (desk, id) = (desk.clone(), id.clone());
    tokio::spawn(async move {
        let (begun, mut pauses) = (Instant::now(), backoff::pauses(BETWEEN));
        let reason = json!({"reason": "its client was told that it failed"});
        while begun.elapsed() < WITHDRAWING {
            let cancelled = desk.post(&["api", "orders", id.as_str(), "cancel"]).json(&reason).send().await;
            let may_come = cancelled.is_missing() && begun.elapsed() < LATE;
            if !may_come && !cancelled.status.is_server_error() {
                tracing::info!(order = %id, status = cancelled.status.as_u16(), "withdrawn");
                return;
            }
            tokio::time::sleep(pauses.next().unwrap_or(BETWEEN)).await;
        }
        tracing::error!(order = %id, "not withdrawn: its client was told that it failed, and it may stand");
        drop(leave);
    });
}

/// An order that is in sight.
pub(crate) async fn get(desk: &Desk, id: &str) -> Answer {
    let mut answer = desk.get(&["api", "orders", id]).send().await;
    if answer.body["archived"] == true {
        answer.status = StatusCode::NOT_FOUND;
    }
    answer
}

/// The order, when its checkout has come to an end or it takes too long.
pub(crate) async fn settled(desk: &Desk, id: &str) -> Answer {
    let (begun, mut pauses) = (Instant::now(), backoff::pauses(LOOK));
    loop {
        let order = get(desk, id).await;
        let is_open = order.is_away() || order.body["status"] == "pending";
        if !is_open || begun.elapsed() > SETTLES {
            return order;
        }
        tokio::time::sleep(pauses.next().unwrap_or(LOOK)).await;
    }
}

/// Cancels an order first if it may be, so that goods go back; then puts it out of sight. The accounts keep it.
pub(crate) async fn discard(desk: &Desk, id: &str) -> Result<(), Answer> {
    let order = settled(desk, id).await.ok()?;
    if matches!(order["status"].as_str(), Some("pending" | "confirmed" | "processing")) {
        let cancelled = desk.post(&["api", "orders", id, "cancel"]).send().await;
        // Goods that came back already keep it from being cancelled, and from nothing else.
        if !cancelled.status.is_success() && cancelled.status != StatusCode::CONFLICT {
            return Err(cancelled);
        }
        settled(desk, id).await.ok()?;
    }
    desk.delete(&["api", "orders", id]).send().await.ok().map(drop)
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
    struct House {
        orders: Arc<Mutex<HashMap<String, &'static str>>>,
        silent: Arc<Mutex<u32>>,
        begins: &'static str,
    }

    impl House {
        fn new(begins: &'static str, silent: u32) -> Self {
            Self { silent: Arc::new(Mutex::new(silent)), begins, ..Self::default() }
        }

        fn desk(&self) -> Desk {
            let api = Router::new()
                .route("/api/orders", post(Self::place))
                .route("/api/orders/{id}", get(Self::show))
                .route("/api/orders/{id}/cancel", post(Self::cancel))
                .with_state(self.clone());
            Desk::of_house(api, crate::Config::default())
        }

        async fn place(State(house): State<Self>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
            let id = body["id"].as_str().expect("an id").to_owned();
            let mut orders = house.orders.lock().expect("a lock");
            let status = *orders.entry(id.clone()).or_insert(house.begins);
            let mut silent = house.silent.lock().expect("a lock");
            if *silent > 0 {
                *silent -= 1;
                return (StatusCode::GATEWAY_TIMEOUT, Json(Value::Null));
            }
            (StatusCode::CREATED, Json(json!({"id": id, "status": status})))
        }

        async fn show(State(house): State<Self>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
            match house.orders.lock().expect("a lock").get(&id) {
                Some(status) => {
                    (StatusCode::OK, Json(json!({"id": id, "status": status, "reason": "not enough stock"})))
                }
                None => (StatusCode::NOT_FOUND, Json(Value::Null)),
            }
        }

        async fn cancel(State(house): State<Self>, Path(id): Path<String>) -> StatusCode {
            match house.orders.lock().expect("a lock").get_mut(&id) {
                Some(status) => {
                    *status = "cancelled";
                    StatusCode::OK
                }
                None => StatusCode::NOT_FOUND,
            }
        }

        fn statuses(&self) -> Vec<&'static str> {
            self.orders.lock().expect("a lock").values().copied().collect()
        }

        async fn sell(&self) -> Result<Value, Answer> {
            let (desk, id) = (self.desk(), OrderId::new());
            let body = json!({ "id": id });
            sold(&desk, &id, || desk.post(&["api", "orders"]).json(&body)).await
        }
    }

    async fn all_cancelled(house: &House) -> bool {
        for _ in 0..100 {
            if house.statuses() == ["cancelled"] {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    #[tokio::test]
    async fn an_order_that_nobody_answered_for_is_sent_again_and_is_one() {
        let house = House::new("confirmed", 2);
        assert_eq!(house.sell().await.expect("it is sold")["status"], "confirmed");
        assert_eq!(house.statuses(), ["confirmed"]);
    }

    #[tokio::test]
    async fn an_order_whose_client_hears_of_no_order_does_not_stand() {
        let house = House::new("confirmed", u32::MAX);
        let answer = house.sell().await.expect_err("nobody answers");
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(all_cancelled(&house).await, "{:?}", house.statuses());
    }

    #[tokio::test]
    async fn a_sale_without_an_end_is_withdrawn_and_one_that_is_cancelled_is_a_conflict() {
        let house = House::new("pending", 0);
        let answer = house.sell().await.expect_err("it has no end");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(all_cancelled(&house).await, "{:?}", house.statuses());

        let house = House::new("pending", 0);
        let (selling, cancelling) = tokio::join!(house.sell(), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            house.orders.lock().expect("a lock").values_mut().for_each(|status| *status = "cancelled");
        });
        let () = cancelling;
        let answer = selling.expect_err("it is cancelled");
        assert_eq!((answer.status, answer.detail()), (StatusCode::CONFLICT, "not enough stock"));
    }
}
