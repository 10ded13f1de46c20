//! `/products`: products as the Flask service told them; their stock is that of the logistics centre.

use std::collections::HashMap;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    error, find, missing, money, number, refused,
    users::{Admin, User},
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    routes::AnyJson,
    values::{id, whole},
};

const WHAT: &str = "Product";
const MOST_PIECES: i64 = 1_000_000_000;
/// Where this fleet's stock is.
pub(super) const PLACE: &str = "logistics";

pub(super) async fn list(State(api): State<ApiClient>, _: User) -> Response {
    match all(&api).await {
        Ok(render) => Json(render).into_response(),
        Err(response) => refused(&response),
    }
}

async fn all(api: &ApiClient) -> Result<Vec<Value>, ApiResponse> {
    let products = lists::whole(|| api.get(&["api", "products"])).await?;
    let mut levels: HashMap<String, i64> = HashMap::new();
    for some in products.chunks(100) {
        let request = api.get(&["api", "stock", "levels"]).query("place_id", PLACE).query("limit", 100);
        let found =
            some.iter().fold(request, |request, product| request.query("product_id", id(product))).send().await.ok()?;
        let rows = found["data"].as_array().into_iter().flatten();
        levels
            .extend(rows.filter_map(|row| Some((row["product_id"].as_str()?.to_owned(), row["available"].as_i64()?))));
    }
    let shown_one = |product: &Value| render(product, levels.get(id(product)).copied());
    Ok(products.iter().map(shown_one).collect())
}

pub(super) async fn one(State(api): State<ApiClient>, _: User, Path(number): Path<String>) -> Response {
    let found = async {
        let Some(product) = find(&api, "products", &number).await? else { return Ok(None) };
        let stock = available(&api, id(&product)).await?;
        Ok::<_, ApiResponse>(Some(render(&product, Some(stock))))
    };
    match found.await {
        Ok(Some(product)) => Json(product).into_response(),
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

pub(super) async fn add(Admin(api): Admin, AnyJson(body): AnyJson) -> Response {
    if let Some(field) = ["nom", "prix", "stock"].into_iter().find(|field| body.get(field).is_none_or(Value::is_null)) {
        return error(StatusCode::BAD_REQUEST, format!("Champ manquant: {field}"));
    }
    let (wanted, stock) = match wanted(&body) {
        Ok(wanted) => wanted,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, wrong),
    };
    let made = async {
        let made = api.post(&["api", "products"]).json(wanted).send().await.ok()?;
        if let Some(stock) = stock {
            set_stock(&api, id(&made), stock).await?;
        }
        Ok::<_, ApiResponse>(made)
    };
    match made.await {
        Ok(made) => (StatusCode::CREATED, Json(brief(&made))).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn change(Admin(api): Admin, Path(number): Path<String>, AnyJson(body): AnyJson) -> Response {
    let (wanted, stock) = match wanted(&body) {
        Ok(wanted) => wanted,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, wrong),
    };
    let changed = async {
        let Some(mut product) = find(&api, "products", &number).await? else { return Ok(None) };
        if !wanted.is_empty() {
            product = api.patch(&["api", "products", id(&product)]).json(wanted).send().await.ok()?;
        }
        if let Some(stock) = stock {
            set_stock(&api, id(&product), stock).await?;
        }
        Ok::<_, ApiResponse>(Some(product))
    };
    match changed.await {
        Ok(Some(product)) => Json(brief(&product)).into_response(),
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

pub(super) async fn remove(Admin(api): Admin, Path(number): Path<String>) -> Response {
    let gone = async {
        let Some(product) = find(&api, "products", &number).await? else { return Ok(false) };
        api.delete(&["api", "products", id(&product)]).send().await.ok()?;
        Ok::<_, ApiResponse>(true)
    };
    match gone.await {
        Ok(true) => Json(json!({"message": "Product deleted"})).into_response(),
        Ok(false) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

/// What a client sends, as the catalogue takes it, and the stock that there is to be; or what is wrong with it.
fn wanted(body: &Value) -> Result<(Map<String, Value>, Option<i64>), &'static str> {
    let mut wanted = Map::new();
    for (theirs, ours) in [("nom", "name"), ("description", "description"), ("categorie", "category")] {
        if let Some(value) = body.get(theirs) {
            wanted.insert(ours.into(), value.clone());
        }
    }
    if let Some(price) = body.get("prix") {
        let price = number(price).ok_or("prix non valide")?;
        wanted.insert("price".into(), json!(price));
    }
    let stock = match body.get("stock") {
        None => None,
        Some(stock) => Some(whole(stock).filter(|stock| (0..=MOST_PIECES).contains(stock)).ok_or("stock non valide")?),
    };
    Ok((wanted, stock))
}

/// How much of a product can be sold.
async fn available(api: &ApiClient, product: &str) -> Result<i64, ApiResponse> {
    let request = api.get(&["api", "stock", "levels"]).query("product_id", product).query("place_id", PLACE);
    let level = lists::one(request).await?.unwrap_or_default();
    Ok(level["available"].as_i64().unwrap_or_default())
}

/// Makes what can be sold of a product so many.
async fn set_stock(api: &ApiClient, product: &str, stock: i64) -> Result<(), ApiResponse> {
    let body = json!({"available": stock, "reason": "set by the dialect ms-client"});
    api.put(&["api", "stock", "levels", product, PLACE, "available"]).json(body).send().await.ok().map(drop)
}

/// Puts pieces in or takes them out; with an id, once.
pub(super) async fn adjust(
    api: &ApiClient,
    product: &str,
    delta: i64,
    reason: &str,
    id: Option<&str>,
) -> Result<i64, ApiResponse> {
    let mut body = json!({"product_id": product, "place_id": PLACE, "delta": delta, "reason": reason});
    if let Some(id) = id {
        body["id"] = id.into();
    }
    let done = api.post(&["api", "stock", "adjustments"]).json(body).send().await.ok()?;
    Ok(done["balance"].as_i64().unwrap_or_default())
}

fn render(product: &Value, stock: Option<i64>) -> Value {
    json!({
        "id": product["number"],
        "nom": product["name"],
        "description": product["description"],
        "prix": money(&product["price"]),
        "stock": stock.unwrap_or_default(),
        "categorie": product["category"],
    })
}

fn brief(product: &Value) -> Value {
    json!({"id": product["number"], "nom": product["name"]})
}
