//! The stock of the online shop, without orders. A reservation here has an id that the client chooses.

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
    lines::{self, CatalogueLine},
    numbers::Kind,
};
use crate::dialects::{
    api_client::ApiResponse,
    lists,
    model::{Level, Page, Product},
    routes::AnyJson,
    values::text,
};

/// How long the old services waited for each other.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The prefix of the ids of reservations without an order. Such an id may be used again after its release.
const OUTSIDE: &str = "legacy:";
/// Longest id of a reservation, without the prefix.
const MAX_ID: usize = 50;
/// Products of one request to the API.
const PAGE_ROWS: usize = 100;

pub(super) async fn check(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let lines = read_lines(&shop, &body).await?;
    let orders = vec![order(&shop, Id::<()>::new().to_string(), &lines).await?];
    let request = request(&shop, CheckRequest { orders })?;
    let response = client(&shop).check(request).await.map_err(|status| grpc_refusal(&status))?;
    check_outcome(response.into_inner().results, &lines)?;
    Ok(Json(json!({"status": "ok"})))
}

pub(super) async fn reserve(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let given = match &body["id"] {
        Value::Null => None,
        given => Some(check_id(given)?),
    };
    let lines = read_lines(&shop, &body).await?;
    let id = given.clone().unwrap_or_else(|| Id::<()>::new().to_string());
    let orders = vec![order(&shop, format!("{OUTSIDE}{id}"), &lines).await?];
    let request = request(&shop, ReserveRequest { orders })?;
    let response = client(&shop).reserve(request).await.map_err(|status| grpc_refusal(&status))?;
    check_outcome(response.into_inner().results, &lines)?;
    let mut reserved = json!({"status": "reserve", "stock": available(&shop, &lines).await?});
    if given.is_none() {
        // A client that chose no id needs it for the release.
        reserved["id"] = id.into();
    }
    Ok(Json(reserved))
}

pub(super) async fn release(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let id = match &body["id"] {
        Value::Null => return Err(Refusal::field(json!(["body", "id"]), "field required")),
        given => check_id(given)?,
    };
    let lines = lines::read(&body, true)?;
    let lines = lines::resolve(&shop, lines).await??;
    let request = request(&shop, ReleaseRequest { order_ids: vec![format!("{OUTSIDE}{id}")] })?;
    client(&shop).release(request).await.map_err(|status| grpc_refusal(&status))?;
    Ok(Json(json!({"status": "libere", "stock": available(&shop, &lines).await?})))
}

pub(super) async fn price(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let mut total = Amount::ZERO;
    for line in read_lines(&shop, &body).await? {
        let product: Product = shop.api.get(&["api", "products", &line.product_id]).send().await.ok()?;
        let price = product.price()?;
        let subtotal = Quantity::new(line.quantity).ok().and_then(|quantity| price.checked_mul(quantity));
        let sum = subtotal.and_then(|subtotal| total.checked_add(subtotal));
        total = sum.ok_or_else(|| Refusal::bad("Le montant est trop grand"))?;
    }
    Ok(Json(json!({"montant_total": total})))
}

/// Checks the id of a reservation.
fn check_id(id: &Value) -> Result<String, Refusal> {
    let is_valid = |id: &String| {
        id.len() <= MAX_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let wrong = || Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "id non valide");
    text(id).filter(is_valid).ok_or_else(wrong)
}

async fn read_lines(shop: &Shop, body: &Value) -> Result<Vec<CatalogueLine>, Refusal> {
    Ok(lines::resolve(shop, lines::read(body, false)?).await??)
}

async fn order(shop: &Shop, order_id: String, lines: &[CatalogueLine]) -> Result<OrderLines, ApiResponse> {
    let lines = lines.iter().map(|line| Line {
        product_id: line.product_id.clone(),
        quantity: u32::try_from(line.quantity).unwrap_or(u32::MAX),
    });
    Ok(OrderLines { order_id, place_id: shop.online().await?, lines: lines.collect() })
}

fn client(shop: &Shop) -> StockClient<tonic::transport::Channel> {
    StockClient::new(shop.api.gateway.stock_channel.clone())
}

/// A gRPC request under the identity of this dialect.
fn request<T>(shop: &Shop, message: T) -> Result<Request<T>, Refusal> {
    let unable = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    let token = shop.api.token(auth::Role::Service).map_err(|_| unable())?;
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    chassis::trace::inject_grpc(request.metadata_mut());
    let value = format!("Bearer {token}").parse().map_err(|_| unable())?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn grpc_refusal(status: &Status) -> Refusal {
    if status.code() == Code::InvalidArgument {
        return Refusal::bad(status.message());
    }
    tracing::warn!(code = ?status.code(), message = status.message(), "the stock service refused a call");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Le service de stock ne répond pas, réessayez.")
}

/// Refuses a request that was not granted. A shortage names the product as the request does.
fn check_outcome(results: Vec<ReserveResult>, lines: &[CatalogueLine]) -> Result<(), Refusal> {
    let result = results.into_iter().next().unwrap_or_default();
    match result.outcome() {
        ReserveOutcome::Reserved => Ok(()),
        ReserveOutcome::Short => {
            let short = result.shortages.first().map(|shortage| shortage.product_id.as_str()).unwrap_or_default();
            let named = lines.iter().find(|line| line.product_id == short).map_or(short, |line| line.named.as_str());
            Err(Refusal::bad(format!("Stock insuffisant pour {named}")))
        }
        ReserveOutcome::Committed | ReserveOutcome::Released => {
            Err(Refusal::new(StatusCode::CONFLICT, "Cette réservation n'est plus possible"))
        }
        ReserveOutcome::Invalid | ReserveOutcome::Unspecified => Err(Refusal::new(StatusCode::CONFLICT, result.detail)),
    }
}

/// The available pieces of these products, or of all without lines, by the numbers of the products.
async fn available(shop: &Shop, lines: &[CatalogueLine]) -> Result<Value, ApiResponse> {
    let online = shop.online().await?;
    let mut levels: Vec<Level> = Vec::new();
    if lines.is_empty() {
        levels = lists::all(|| shop.api.get(&["api", "stock", "levels"]).query("place_id", &online)).await?;
    }
    for some in lines.chunks(PAGE_ROWS) {
        let request = shop.api.get(&["api", "stock", "levels"]).query("place_id", &online).query("limit", PAGE_ROWS);
        let request = some.iter().fold(request, |request, line| request.query("product_id", &line.product_id));
        let page: Page<Level> = request.send().await.ok()?;
        levels.extend(page.data);
    }
    let mut stock = Map::new();
    for level in levels {
        if let Some(number) = shop.numbers.number(&shop.api, Kind::Products, &level.product_id).await? {
            stock.insert(number.to_string(), level.available.into());
        }
    }
    Ok(stock.into())
}
