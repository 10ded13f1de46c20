//! Orders, and how the house's own stand in the old fleet's words.

use std::time::Duration;

use axum::extract::{Path, State};
use chassis::{Json, backoff};
use commerce::OrderId;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Refusal, Shop, clients,
    lines::{self, Sold},
    numbers::Kind,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    orders::{CancelOnDrop, retry_deadline, retry_while_unavailable},
    routes::AnyJson,
    values::{self, text},
};

/// The house's states and the old fleet's.
pub(super) const ETATS: [(&str, &str); 6] = [
    ("CREATED", "CREEE"),
    ("STOCK_CHECKED", "STOCK_VERIFIE"),
    ("STOCK_RESERVED", "STOCK_RESERVE"),
    ("PAID", "PAYEE"),
    ("CONFIRMED", CONFIRMEE),
    ("CANCELLED", ANNULEE),
];
pub(super) const CONFIRMEE: &str = "CONFIRMEE";
pub(super) const ANNULEE: &str = "ANNULEE";

/// How long a checkout is waited for beyond the house's own patience.
const ENDS: Duration = Duration::from_secs(10);
/// Longest pauses between two looks at what is not known, and at what has no end yet.
const LOOK: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long an order service that is away is waited for.
const AWAY: Duration = Duration::from_secs(2);
/// Orders that the lists tell of, the newest.
const NEWEST: u64 = 1_000;

/// A state of the house in the old fleet's word.
pub(super) fn etat(state: &Value) -> &'static str {
    let known = ETATS.iter().find(|(native, _)| state == native);
    known.map_or("CREEE", |(_, etat)| etat)
}

/// The states that an order reached, in their order.
pub(super) fn etats(order: &Value) -> Vec<&'static str> {
    order["states"].as_array().into_iter().flatten().map(|reached| etat(&reached["state"])).collect()
}

/// Places an order at the online shop and waits for its end, or until that takes too long. While the house does not know, it is
/// asked again for the same order, which never makes a second one. Of an error 502 and 504 say that there may be such an order,
/// everything else that there is none.
pub(super) async fn checkout(
    shop: &Shop,
    until: Instant,
    id: &OrderId,
    customer: Option<&str>,
    lines: &[Sold],
) -> Result<Value, ApiResponse> {
    let lines: Vec<Value> =
        lines.iter().map(|line| json!({"product_id": line.product_id, "quantity": line.quantity})).collect();
    let mut wanted = json!({
        "id": id,
        "place_id": retry_while_unavailable(until, || shop.online()).await?,
        "lines": lines,
        "payment": {"method": "card"},
    });
    if let Some(customer) = customer {
        wanted["customer_id"] = customer.into();
    }
    let (mut pauses, mut may_be) = (backoff::pauses(LONGEST_PAUSE), false);
    loop {
        let placed = shop.api.post(&["api", "orders"]).json(&wanted).send().await;
        may_be |= matches!(placed.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        match placed.status {
            StatusCode::CREATED | StatusCode::OK => return Ok(placed.body),
            StatusCode::ACCEPTED | StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT => {}
            status if status.is_server_error() => {}
            _ => return Err(placed),
        }
        // Whether it was placed is not known where nobody answered; the id tells.
        let order = ended(&shop.api, id.as_str()).await;
        let (is_not_found, is_known) = (order.is_not_found(), !order.is_unavailable());
        if is_known && !is_not_found {
            return order.ok().map_err(|response| ApiResponse { status: StatusCode::GATEWAY_TIMEOUT, ..response });
        }
        if Instant::now() >= until || is_known && !placed.is_unavailable() {
            let status = if is_not_found && !may_be { placed.status } else { StatusCode::GATEWAY_TIMEOUT };
            return Err(ApiResponse { status, ..placed });
        }
        tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

/// The order when it is at its end, or it takes too long.
async fn ended(api: &ApiClient, id: &str) -> ApiResponse {
    let (begun, mut pauses) = (Instant::now(), backoff::pauses(LOOK));
    loop {
        let order = api.get(&["api", "orders", id]).send().await;
        let is_away = order.status.is_server_error();
        let ended = !is_away && order.body["status"] != "pending";
        if ended || begun.elapsed() > if is_away { AWAY } else { ENDS } {
            return order;
        }
        tokio::time::sleep(pauses.next().unwrap_or(LOOK)).await;
    }
}

pub(super) async fn place(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let wanted = lines::read(&body, false)?;
    let (number, customer) = clients::named(&shop, &body).await?;
    let sold = lines::known(&shop, wanted).await??;
    let wanted = OrderId::new();
    let guard = CancelOnDrop::new(&shop.api, &wanted);
    let placed = checkout(&shop, retry_deadline(), &wanted, Some(&customer), &sold).await;
    if placed.as_ref().err().is_none_or(|response| !response.status.is_server_error()) {
        guard.disarm();
    }
    let order = placed?;
    Ok(Json(json!({"client_id": number, "id": order["id"], "statut": etat(&order["state"])})))
}

pub(super) async fn one(State(shop): State<Shop>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let order = find(&shop, &id).await?;
    Ok(Json(json!({
        "client_id": shop.numbers.render(&shop.api, Kind::Customers, &order["customer_id"]).await?,
        "id": order["id"],
        "statut": etat(&order["state"]),
    })))
}

/// An order by the house's own id, or by its number.
async fn find(shop: &Shop, id: &str) -> Result<Value, Refusal> {
    let missing = || Refusal::missing("Commande non trouvée");
    let order = shop.api.get(&["api", "orders", id]).send().await;
    if !order.is_not_found() {
        return Ok(order.ok()?);
    }
    let number: i64 = id.parse().map_err(|_| missing())?;
    let order = lists::numbered(shop.api.get(&["api", "orders"]), number).await?;
    order.ok_or_else(missing)
}

/// Only the saga moves an order on; whoever says where it is anyway is right, and ANNULEE cancels it.
pub(super) async fn set_etat(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Json<Value>, Refusal> {
    let wanted = text(&body["etat"]).ok_or_else(|| Refusal::field(json!(["body", "etat"]), "field required"))?;
    if !ETATS.iter().any(|(_, etat)| *etat == wanted) {
        return Err(Refusal::bad(format!("État inconnu : {wanted}")));
    }
    let order = find(&shop, &id).await?;
    let (id, now) = (values::id(&order), etat(&order["state"]));
    let told = Json(json!({"id": id, "etat": wanted}));
    if now == wanted {
        return Ok(told);
    }
    let refused = || Refusal::new(StatusCode::CONFLICT, format!("Transition impossible de {now} vers {wanted}"));
    if wanted != ANNULEE {
        return Err(refused());
    }
    let cancelled = shop.api.post(&["api", "orders", id, "cancel"]).send().await;
    if cancelled.status == StatusCode::CONFLICT {
        return Err(refused());
    }
    cancelled.ok()?;
    Ok(told)
}

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let mut shown = Vec::new();
    for order in newest(&shop.api).await? {
        shown.push(json!({
            "id": order["id"],
            "client_id": shop.numbers.render(&shop.api, Kind::Customers, &order["customer_id"]).await?,
            "statut": etat(&order["state"]),
            "produits": products(&shop, &order).await?,
        }));
    }
    Ok(Json(shown))
}

/// The newest orders of the online shop, oldest of them first. Sales at tills were no orders.
pub(super) async fn newest(api: &ApiClient) -> Result<Vec<Value>, ApiResponse> {
    let part = lists::part(|| api.get(&["api", "orders"]).query("channel", "web"), 0, NEWEST).await?;
    Ok(part.rows.into_iter().rev().collect())
}

/// What an order is of.
pub(super) async fn products(shop: &Shop, order: &Value) -> Result<Value, ApiResponse> {
    let mut products = Vec::new();
    for line in order["lines"].as_array().into_iter().flatten() {
        let id = shop.numbers.render(&shop.api, Kind::Products, &line["product_id"]).await?;
        products.push(json!({"id": id, "quantite": line["quantity"]}));
    }
    Ok(products.into())
}
