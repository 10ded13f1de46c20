//! The saga: a checkout, with the wire format of the old orchestrator.

use axum::extract::{FromRequest, Request, State};
use chassis::{Json, Problem};
use commerce::OrderId;
use futures::FutureExt;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Refusal, Shop,
    json_comments::blanked,
    lines::{self, Line},
    orders::{ANNULEE, CONFIRMEE, checkout, etats},
};
use crate::dialects::{
    api_client::ApiResponse,
    model::{Order, OrderStatus, SagaState},
    orders::{PendingOrder, retry_deadline, retry_while_unavailable},
};

const NO_PRICE: &str = "Erreur de calcul du prix.";
const NO_STOCK: &str = "Stock insuffisant.";
const NO_HOLD: &str = "Erreur de réservation du stock.";
const NO_MONEY: &str = "Paiement échoué.";
const NO_ORDER: &str = "Impossible de confirmer la commande.";

/// A JSON body that may have comments; `null` if it is no JSON without them.
pub(super) struct JsonWithComments(Value);

impl<S: Send + Sync> FromRequest<S> for JsonWithComments {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = chassis::read_body(&parts, body).await?;
        Ok(Self(serde_json::from_slice(&blanked(&bytes)).unwrap_or_default()))
    }
}

/// The outcome of a saga.
struct Outcome {
    etats: Vec<&'static str>,
    /// Why the order was not confirmed.
    message: Option<&'static str>,
}

impl Outcome {
    /// The outcome without an order.
    fn not_placed(message: &'static str) -> Self {
        Self { etats: vec!["CREEE", ANNULEE], message: Some(message) }
    }

    fn of(order: &Order) -> Self {
        let etats = etats(order);
        let message = (order.state != SagaState::Confirmed).then(|| failure(&etats, order));
        Self { etats, message }
    }
}

pub(super) async fn order(
    State(shop): State<Shop>,
    JsonWithComments(body): JsonWithComments,
) -> Result<Json<Value>, Refusal> {
    let begin = Instant::now();
    let lines = lines::read(&body, false)?;
    let id = OrderId::new();
    let outcome = run(&shop, &id, lines).await?;
    shop.meters.ended(outcome.message.is_none(), &outcome.etats, begin.elapsed());
    Ok(Json(match outcome.message {
        None => json!({"status": "ok", "commande_id": id, "etat": CONFIRMEE, "etats": outcome.etats}),
        Some(message) => {
            json!({"status": "échec", "message": message, "commande_id": id, "etat": ANNULEE, "etats": outcome.etats})
        }
    }))
}

async fn run(shop: &Shop, id: &OrderId, lines: Vec<Line>) -> Result<Outcome, Refusal> {
    let deadline = retry_deadline();
    let lines = match retry_while_unavailable(deadline, || lines::resolve(shop, lines.clone())).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(_)) | Err(_) => return Ok(Outcome::not_placed(NO_PRICE)),
    };
    let pending = PendingOrder::new(&shop.api, id);
    let mut is_refused = false;
    let outcome = match checkout(shop, deadline, &pending, None, &lines).await {
        Ok(order) if order.status == OrderStatus::Pending => give_up(shop, id).await?,
        Ok(order) => Outcome::of(&order),
        Err(response) if response.status == StatusCode::NOT_FOUND => Outcome::not_placed(NO_ORDER),
        Err(response) if may_exist(&response) => give_up(shop, id).await?,
        Err(response) => {
            is_refused = response.status.is_client_error();
            Outcome::not_placed(refusal(&response))
        }
    };
    // Unless its client is told that it is confirmed, the order is withdrawn: it may still come late.
    if outcome.message.is_none() {
        pending.acknowledge().await?;
    } else if is_refused {
        pending.settle();
    }
    Ok(outcome)
}

/// Whether an order may exist although the request failed.
fn may_exist(response: &ApiResponse) -> bool {
    matches!(response.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
}

/// Cancels an order, since its client gets a failure.
async fn give_up(shop: &Shop, id: &OrderId) -> Result<Outcome, Refusal> {
    let deadline = retry_deadline();
    let read = || shop.api.get(&["api", "orders", id.as_str()]).send().map(ApiResponse::ok::<Order>);
    let cancel = || shop.api.post(&["api", "orders", id.as_str(), "cancel"]).send().map(ApiResponse::check);
    match retry_while_unavailable(deadline, read).await {
        // The checkout ended meanwhile.
        Ok(order) if order.status != OrderStatus::Pending => return Ok(Outcome::of(&order)),
        Err(response) if !response.is_not_found() => return Err(response.into()),
        _ => {}
    }
    match retry_while_unavailable(deadline, cancel).await {
        Err(response) if response.is_not_found() => return Ok(Outcome::not_placed(NO_ORDER)),
        cancelled => drop(cancelled?),
    }
    let mut outcome = Outcome::of(&retry_while_unavailable(deadline, read).await?);
    if outcome.etats.last() != Some(&ANNULEE) {
        // The cancellation is decided; the order service completes it.
        outcome.etats.push(ANNULEE);
    }
    outcome.message.get_or_insert(NO_ORDER);
    Ok(outcome)
}

/// The old message for an order that was refused before it was placed.
fn refusal(response: &ApiResponse) -> &'static str {
    if response.status == StatusCode::UNPROCESSABLE_ENTITY
        && response.fields().any(|(field, _)| field.starts_with("lines"))
    {
        return NO_PRICE;
    }
    match response.unavailable_peer() {
        Some("product") => NO_PRICE,
        Some("stock") => NO_HOLD,
        _ => NO_ORDER,
    }
}

/// The old message for a cancelled order: the step that it did not reach.
fn failure(etats: &[&str], order: &Order) -> &'static str {
    if etats.contains(&"PAYEE") {
        NO_ORDER
    } else if etats.contains(&"STOCK_RESERVE") {
        NO_MONEY
    } else if order.reason.as_deref() == Some(super::events::SHORT) {
        NO_STOCK
    } else {
        NO_HOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_tells_what_the_order_did_not_come_to() {
        let order = |states: &[&str], reason: &str| {
            let states: Vec<Value> = states.iter().map(|state| json!({"state": state})).collect();
            let state = states.last().map(|last| last["state"].clone());
            serde_json::from_value::<Order>(json!({"state": state, "states": states, "reason": reason}))
                .expect("an order")
        };
        let message = |states: &[&str], reason: &str| Outcome::of(&order(states, reason)).message;
        let held = ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "CANCELLED"];
        assert_eq!(message(&["CREATED", "CANCELLED"], "not enough stock"), Some(NO_STOCK));
        assert_eq!(message(&["CREATED", "CANCELLED"], "the stock service did not answer in time"), Some(NO_HOLD));
        assert_eq!(message(&held, "payment refused: above the limit"), Some(NO_MONEY));
        assert_eq!(message(&["CREATED", "STOCK_RESERVED", "PAID", "CANCELLED"], "x"), Some(NO_ORDER));
        assert_eq!(message(&["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "PAID", "CONFIRMED"], ""), None);
    }
}
