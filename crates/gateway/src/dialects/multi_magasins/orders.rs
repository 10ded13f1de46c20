//! Orders, and the states of the old fleet.

use std::time::Duration;

use axum::extract::{Path, State};
use chassis::{Json, backoff};
use commerce::OrderId;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Refusal, Shop, clients,
    lines::{self, CatalogueLine},
    numbers::Kind,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Order, OrderLine, OrderStatus, SagaState},
    orders::{PendingOrder, retry_deadline, retry_while_unavailable},
    routes::AnyJson,
    values::text,
};

/// The states of the saga with those of the old fleet.
pub(super) const ETATS: [(SagaState, &str); 6] = [
    (SagaState::Created, CREEE),
    (SagaState::StockChecked, "STOCK_VERIFIE"),
    (SagaState::StockReserved, "STOCK_RESERVE"),
    (SagaState::Paid, "PAYEE"),
    (SagaState::Confirmed, CONFIRMEE),
    (SagaState::Cancelled, ANNULEE),
];
const CREEE: &str = "CREEE";
pub(super) const CONFIRMEE: &str = "CONFIRMEE";
pub(super) const ANNULEE: &str = "ANNULEE";

/// How long to wait for the end of a checkout after the response of the order service.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause between two reads of an order.
const POLL_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two attempts to place an order.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long to wait for an order service that is unreachable.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
/// Rows of the lists.
const NEWEST: u64 = 1_000;

/// The old fleet's name of a state.
pub(super) fn etat(state: SagaState) -> &'static str {
    let known = ETATS.iter().find(|(known, _)| *known == state);
    known.map_or(CREEE, |(_, etat)| etat)
}

/// The states that an order reached, in their order.
pub(super) fn etats(order: &Order) -> Vec<&'static str> {
    order.states.iter().map(|reached| etat(reached.state)).collect()
}

/// Places an order at the online shop and waits for its end, up to a timeout. While the outcome is unknown, the request is repeated
/// with the same id, which prevents a second order. After an error with status 502 or 504 the order may exist, after any other it
/// does not.
pub(super) async fn checkout(
    shop: &Shop,
    deadline: Instant,
    pending: &PendingOrder<'_>,
    customer: Option<&str>,
    lines: &[CatalogueLine],
) -> Result<Order, ApiResponse> {
    let lines: Vec<Value> =
        lines.iter().map(|line| json!({"product_id": line.product_id, "quantity": line.quantity})).collect();
    let mut body = json!({
        "id": pending.id(),
        "place_id": retry_while_unavailable(deadline, || shop.online()).await?,
        "lines": lines,
        "payment": {"method": "card"},
    });
    if let Some(customer) = customer {
        body["customer_id"] = customer.into();
    }
    let (mut pauses, mut may_exist) = (backoff::pauses(RETRY_PAUSE), false);
    loop {
        let placed = pending.request(shop.api.post(&["api", "orders"]).json(&body)).send().await;
        may_exist |= matches!(placed.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        match placed.status {
            StatusCode::CREATED | StatusCode::OK => return placed.ok(),
            StatusCode::ACCEPTED | StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT => {}
            status if status.is_server_error() => {}
            _ => return Err(placed),
        }
        // Without a response the order may exist; its id shows that.
        let order = wait_until_ended(&shop.api, pending.id().as_str()).await;
        let failure = match order {
            Ok(order) => return Ok(order),
            Err(failure) => failure,
        };
        let (is_not_found, is_known) = (failure.is_not_found(), !failure.is_unavailable());
        if is_known && !is_not_found {
            return Err(ApiResponse { status: StatusCode::GATEWAY_TIMEOUT, ..failure });
        }
        if Instant::now() >= deadline || is_known && !placed.is_unavailable() {
            let status = if is_not_found && !may_exist { placed.status } else { StatusCode::GATEWAY_TIMEOUT };
            return Err(ApiResponse { status, ..placed });
        }
        tokio::time::sleep(pauses.next().unwrap_or(RETRY_PAUSE)).await;
    }
}

/// The order after its end, or as it is after a timeout.
async fn wait_until_ended(api: &ApiClient, id: &str) -> Result<Order, ApiResponse> {
    let (begin, mut pauses) = (Instant::now(), backoff::pauses(POLL_PAUSE));
    loop {
        let order: Result<Order, ApiResponse> = api.get(&["api", "orders", id]).send().await.ok();
        let is_failure = order.as_ref().is_err_and(|response| response.status.is_server_error());
        let is_pending = order.as_ref().is_ok_and(|order| order.status == OrderStatus::Pending);
        let has_ended = !is_failure && !is_pending;
        if has_ended || begin.elapsed() > if is_failure { REACH_TIMEOUT } else { SETTLE_TIMEOUT } {
            return order;
        }
        tokio::time::sleep(pauses.next().unwrap_or(POLL_PAUSE)).await;
    }
}

pub(super) async fn place(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let lines = lines::read(&body, false)?;
    let (number, customer) = clients::named(&shop, &body).await?;
    let lines = lines::resolve(&shop, lines).await??;
    let id = OrderId::new();
    let pending = PendingOrder::new(&shop.api, &id);
    let placed = checkout(&shop, retry_deadline(), &pending, Some(&customer), &lines).await;
    match &placed {
        Ok(_) => pending.acknowledge().await?,
        Err(response) if !response.status.is_server_error() => pending.settle(),
        Err(_) => {}
    }
    let order = placed?;
    Ok(Json(json!({"client_id": number, "id": order.id, "statut": etat(order.state)})))
}

pub(super) async fn one(State(shop): State<Shop>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let order = find(&shop, &id).await?;
    Ok(Json(json!({
        "client_id": shop.numbers.number_of(&shop.api, Kind::Customers, order.customer_id.as_deref()).await?,
        "id": order.id,
        "statut": etat(order.state),
    })))
}

/// An order by its id or number.
async fn find(shop: &Shop, id: &str) -> Result<Order, Refusal> {
    let missing = || Refusal::missing("Commande non trouvée");
    let order = shop.api.get(&["api", "orders", id]).send().await;
    if !order.is_not_found() {
        return Ok(order.ok()?);
    }
    let number: i64 = id.parse().map_err(|_| missing())?;
    let order: Option<Order> = lists::by_number(shop.api.get(&["api", "orders"]), number).await?;
    order.ok_or_else(missing)
}

/// Only the saga changes the state of an order. The present state is accepted, and ANNULEE cancels the order.
pub(super) async fn set_etat(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Json<Value>, Refusal> {
    let target = text(&body["etat"]).ok_or_else(|| Refusal::field(json!(["body", "etat"]), "field required"))?;
    if !ETATS.iter().any(|(_, etat)| *etat == target) {
        return Err(Refusal::bad(format!("État inconnu : {target}")));
    }
    let order = find(&shop, &id).await?;
    let (id, now) = (&order.id, etat(order.state));
    let done = Json(json!({"id": id, "etat": target}));
    if now == target {
        return Ok(done);
    }
    let refused = || Refusal::new(StatusCode::CONFLICT, format!("Transition impossible de {now} vers {target}"));
    if target != ANNULEE {
        return Err(refused());
    }
    let cancelled = shop.api.post(&["api", "orders", id, "cancel"]).send().await;
    if cancelled.status == StatusCode::CONFLICT {
        return Err(refused());
    }
    cancelled.check()?;
    Ok(done)
}

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let mut rendered = Vec::new();
    for order in newest(&shop.api).await? {
        rendered.push(json!({
            "id": order.id,
            "client_id": shop.numbers.number_of(&shop.api, Kind::Customers, order.customer_id.as_deref()).await?,
            "statut": etat(order.state),
            "produits": products(&shop, &order.lines).await?,
        }));
    }
    Ok(Json(rendered))
}

/// The newest orders of the online shop, oldest first. In the old fleet a sale in a store was no order.
pub(super) async fn newest(api: &ApiClient) -> Result<Vec<Order>, ApiResponse> {
    let range = lists::range(|| api.get(&["api", "orders"]).query("channel", "web"), 0, NEWEST).await?;
    Ok(range.rows.into_iter().rev().collect())
}

/// The products of these lines, by their numbers.
pub(super) async fn products(shop: &Shop, lines: &[OrderLine]) -> Result<Value, ApiResponse> {
    let mut products = Vec::new();
    for line in lines {
        let id = shop.numbers.number_of(&shop.api, Kind::Products, line.product_id.as_deref()).await?;
        products.push(json!({"id": id, "quantite": line.quantity}));
    }
    Ok(products.into())
}
