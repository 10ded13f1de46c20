//! The stock of the online shop, asked for apart from orders: what is set aside here is so under an id of the client's.

use std::time::Duration;

use axum::extract::State;
use chassis::Json;
use commerce::{Amount, Id, Quantity};
use http::StatusCode;
use proto::stock::v1::{
    CheckRequest, Line, OrderLines, ReleaseRequest, ReserveOutcome, ReserveRequest, ReserveResult,
    stock_client::StockClient,
};
use serde_json::{Map, Value, json};
use tonic::{Code, Request, Status};

use super::{
    Refusal, Shop,
    lines::{self, Sold},
    numbers::Kind,
};
use crate::dialects::{api_client::ApiResponse, lists, routes::AnyJson, values::text};

/// How long the old services waited for each other.
const PATIENCE: Duration = Duration::from_secs(10);
/// Begins the ids of reservations that are of no order; such a one may be taken again when it was released.
const OUTSIDE: &str = "legacy:";
/// Longest id of a reservation, so that what stands before it has room.
const LONGEST: usize = 50;
/// Most products that the house is asked for at once.
const AT_ONCE: usize = 100;

pub(super) async fn check(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let sold = wanted(&shop, &body).await?;
    let orders = vec![order(&shop, Id::<()>::new().to_string(), &sold).await?];
    let request = request(&shop, CheckRequest { orders })?;
    let response = client(&shop).check(request).await.map_err(|status| away(&status))?;
    granted(response.into_inner().results, &sold)?;
    Ok(Json(json!({"status": "ok"})))
}

pub(super) async fn reserve(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let given = match &body["id"] {
        Value::Null => None,
        given => Some(valid(given)?),
    };
    let sold = wanted(&shop, &body).await?;
    let id = given.clone().unwrap_or_else(|| Id::<()>::new().to_string());
    let orders = vec![order(&shop, format!("{OUTSIDE}{id}"), &sold).await?];
    let request = request(&shop, ReserveRequest { orders })?;
    let response = client(&shop).reserve(request).await.map_err(|status| away(&status))?;
    granted(response.into_inner().results, &sold)?;
    let mut told = json!({"status": "reserve", "stock": left(&shop, &sold).await?});
    if given.is_none() {
        // Who named none needs it to give the goods back.
        told["id"] = id.into();
    }
    Ok(Json(told))
}

pub(super) async fn release(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let id = match &body["id"] {
        Value::Null => return Err(Refusal::field(json!(["body", "id"]), "field required")),
        given => valid(given)?,
    };
    let asked = lines::read(&body, true)?;
    let sold = lines::known(&shop, asked).await??;
    let request = request(&shop, ReleaseRequest { order_ids: vec![format!("{OUTSIDE}{id}")] })?;
    client(&shop).release(request).await.map_err(|status| away(&status))?;
    Ok(Json(json!({"status": "libere", "stock": left(&shop, &sold).await?})))
}

pub(super) async fn price(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let mut total = Amount::ZERO;
    for line in wanted(&shop, &body).await? {
        let product = shop.api.get(&["api", "products", &line.product_id]).send().await.ok()?;
        let price: Option<Amount> = serde_json::from_value(product["price"].clone()).ok();
        let quantity = Quantity::new(line.quantity).ok();
        let subtotal = price.zip(quantity).and_then(|(price, quantity)| price.checked_mul(quantity));
        let sum = subtotal.and_then(|subtotal| total.checked_add(subtotal));
        total = sum.ok_or_else(|| Refusal::bad("Le montant est trop grand"))?;
    }
    Ok(Json(json!({"montant_total": total})))
}

/// The id of a reservation, as clients choose it.
fn valid(id: &Value) -> Result<String, Refusal> {
    let is_valid = |id: &String| {
        id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let wrong = || Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "id non valide");
    text(id).filter(is_valid).ok_or_else(wrong)
}

async fn wanted(shop: &Shop, body: &Value) -> Result<Vec<Sold>, Refusal> {
    Ok(lines::known(shop, lines::read(body, false)?).await??)
}

async fn order(shop: &Shop, order_id: String, sold: &[Sold]) -> Result<OrderLines, ApiResponse> {
    let lines = sold.iter().map(|line| Line {
        product_id: line.product_id.clone(),
        quantity: u32::try_from(line.quantity).unwrap_or(u32::MAX),
    });
    Ok(OrderLines { order_id, place_id: shop.online().await?, lines: lines.collect() })
}

fn client(shop: &Shop) -> StockClient<tonic::transport::Channel> {
    StockClient::new(shop.api.gateway.stock_channel.clone())
}

/// A call of this dialect in the name of a service.
fn request<T>(shop: &Shop, message: T) -> Result<Request<T>, Refusal> {
    let unable = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    let token = shop.api.token(auth::Role::Service).map_err(|_| unable())?;
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    chassis::trace::inject_grpc(request.metadata_mut());
    let value = format!("Bearer {token}").parse().map_err(|_| unable())?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn away(status: &Status) -> Refusal {
    if status.code() == Code::InvalidArgument {
        return Refusal::bad(status.message());
    }
    tracing::warn!(code = ?status.code(), message = status.message(), "the stock service did not do it");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Le service de stock ne répond pas, réessayez.")
}

/// Whether the goods were to be had; of what there is too little is told as the client named it.
fn granted(results: Vec<ReserveResult>, sold: &[Sold]) -> Result<(), Refusal> {
    let result = results.into_iter().next().unwrap_or_default();
    match result.outcome() {
        ReserveOutcome::Reserved => Ok(()),
        ReserveOutcome::Short => {
            let short = result.shortages.first().map(|shortage| shortage.product_id.as_str()).unwrap_or_default();
            let named = sold.iter().find(|line| line.product_id == short).map_or(short, |line| line.named.as_str());
            Err(Refusal::bad(format!("Stock insuffisant pour {named}")))
        }
        ReserveOutcome::Committed | ReserveOutcome::Released => {
            Err(Refusal::new(StatusCode::CONFLICT, "Cette réservation n'est plus possible"))
        }
        ReserveOutcome::Invalid | ReserveOutcome::Unspecified => Err(Refusal::new(StatusCode::CONFLICT, result.detail)),
    }
}

/// What can still be promised of these products, or of all where none is named, by their numbers.
async fn left(shop: &Shop, sold: &[Sold]) -> Result<Value, ApiResponse> {
    let online = shop.online().await?;
    let mut rows = Vec::new();
    if sold.is_empty() {
        rows = lists::whole(|| shop.api.get(&["api", "stock", "levels"]).query("place_id", &online)).await?;
    }
    for some in sold.chunks(AT_ONCE) {
        let request = shop.api.get(&["api", "stock", "levels"]).query("place_id", &online).query("limit", AT_ONCE);
        let request = some.iter().fold(request, |request, line| request.query("product_id", &line.product_id));
        rows.extend(request.send().await.ok()?["data"].as_array().into_iter().flatten().cloned());
    }
    let mut stock = Map::new();
    for level in rows {
        let id = level["product_id"].as_str().unwrap_or_default();
        if let Some(number) = shop.numbers.number(&shop.api, Kind::Products, id).await? {
            stock.insert(number.to_string(), level["available"].clone());
        }
    }
    Ok(stock.into())
}
