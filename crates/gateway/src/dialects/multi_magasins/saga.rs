//! The saga: the house's own checkout, told in the old orchestrator's words.

use axum::extract::{FromRequest, Request, State};
use chassis::{Json, Problem};
use commerce::OrderId;
use futures::FutureExt;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Refusal, Shop,
    comments::blanked,
    lines::{self, Line},
    orders::{ANNULEE, CONFIRMEE, checkout, etats},
};
use crate::dialects::{
    api_client::ApiResponse,
    orders::{CancelOnDrop, retry_deadline, retry_while_unavailable},
};

const NO_PRICE: &str = "Erreur de calcul du prix.";
const NO_STOCK: &str = "Stock insuffisant.";
const NO_HOLD: &str = "Erreur de réservation du stock.";
const NO_MONEY: &str = "Paiement échoué.";
const NO_ORDER: &str = "Impossible de confirmer la commande.";

/// A body that may hold comments; `null` where it is no JSON without them.
pub(super) struct Commented(Value);

impl<S: Send + Sync> FromRequest<S> for Commented {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = chassis::read_body(&parts.headers, body).await?;
        Ok(Self(serde_json::from_slice(&blanked(&bytes)).unwrap_or_default()))
    }
}

/// How a saga ended.
struct End {
    etats: Vec<&'static str>,
    /// What went wrong; nothing where the order is confirmed.
    message: Option<&'static str>,
}

impl End {
    /// There is no order, since it could not be made.
    fn nothing(message: &'static str) -> Self {
        Self { etats: vec!["CREEE", ANNULEE], message: Some(message) }
    }

    fn of(order: &Value) -> Self {
        let etats = etats(order);
        let message = (order["state"] != "CONFIRMED").then(|| failure(&etats, order));
        Self { etats, message }
    }
}

pub(super) async fn order(State(shop): State<Shop>, Commented(body): Commented) -> Result<Json<Value>, Refusal> {
    let begun = Instant::now();
    let wanted = lines::read(&body, false)?;
    let id = OrderId::new();
    let guard = CancelOnDrop::new(&shop.api, &id);
    let end = run(&shop, &id, wanted).await?;
    guard.disarm();
    shop.meters.ended(end.message.is_none(), &end.etats, begun.elapsed());
    Ok(Json(match end.message {
        None => json!({"status": "ok", "commande_id": id, "etat": CONFIRMEE, "etats": end.etats}),
        Some(message) => {
            json!({"status": "échec", "message": message, "commande_id": id, "etat": ANNULEE, "etats": end.etats})
        }
    }))
}

async fn run(shop: &Shop, id: &OrderId, wanted: Vec<Line>) -> Result<End, Refusal> {
    let until = retry_deadline();
    let sold = match retry_while_unavailable(until, || lines::known(shop, wanted.clone())).await {
        Ok(Ok(sold)) => sold,
        Ok(Err(_)) | Err(_) => return Ok(End::nothing(NO_PRICE)),
    };
    match checkout(shop, until, id, None, &sold).await {
        Ok(order) if order["status"] == "pending" => give_up(shop, id).await,
        Ok(order) => Ok(End::of(&order)),
        Err(response) if response.status == StatusCode::NOT_FOUND => Ok(End::nothing(NO_ORDER)),
        Err(response) if is_unsure(&response) => give_up(shop, id).await,
        Err(response) => Ok(End::nothing(refusal(&response))),
    }
}

/// Whether an order may have been placed although nobody said so.
fn is_unsure(response: &ApiResponse) -> bool {
    matches!(response.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
}

/// The client is told that it failed, so it must: whatever the order has by now goes back.
async fn give_up(shop: &Shop, id: &OrderId) -> Result<End, Refusal> {
    let until = retry_deadline();
    let probe = || shop.api.get(&["api", "orders", id.as_str()]).send().map(ApiResponse::ok);
    let cancel = || shop.api.post(&["api", "orders", id.as_str(), "cancel"]).send().map(ApiResponse::ok);
    match retry_while_unavailable(until, probe).await {
        // It came to its end at the last moment.
        Ok(order) if order["status"] != "pending" => return Ok(End::of(&order)),
        Err(response) if !response.is_not_found() => return Err(response.into()),
        _ => {}
    }
    match retry_while_unavailable(until, cancel).await {
        Err(response) if response.is_not_found() => return Ok(End::nothing(NO_ORDER)),
        cancelled => drop(cancelled?),
    }
    let mut end = End::of(&retry_while_unavailable(until, probe).await?);
    if end.etats.last() != Some(&ANNULEE) {
        // It is decided, and the rest goes on by itself.
        end.etats.push(ANNULEE);
    }
    end.message.get_or_insert(NO_ORDER);
    Ok(end)
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

/// Why an order was cancelled: what it did not come to.
fn failure(etats: &[&str], order: &Value) -> &'static str {
    if etats.contains(&"PAYEE") {
        NO_ORDER
    } else if etats.contains(&"STOCK_RESERVE") {
        NO_MONEY
    } else if order["reason"] == super::events::SHORT {
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
            json!({"state": states.last().map(|last| last["state"].clone()), "states": states, "reason": reason})
        };
        let message = |states: &[&str], reason: &str| End::of(&order(states, reason)).message;
        let held = ["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "CANCELLED"];
        assert_eq!(message(&["CREATED", "CANCELLED"], "not enough stock"), Some(NO_STOCK));
        assert_eq!(message(&["CREATED", "CANCELLED"], "the stock service did not answer in time"), Some(NO_HOLD));
        assert_eq!(message(&held, "payment refused: above the limit"), Some(NO_MONEY));
        assert_eq!(message(&["CREATED", "STOCK_RESERVED", "PAID", "CANCELLED"], "x"), Some(NO_ORDER));
        assert_eq!(message(&["CREATED", "STOCK_CHECKED", "STOCK_RESERVED", "PAID", "CONFIRMED"], ""), None);
    }
}
