//! `/products`: products, with the wire format of the Flask service. Their stock is that of the logistics centre.

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
    model::{Level, Page, Product},
    routes::AnyJson,
    values::whole,
};

const WHAT: &str = "Product";
const MOST_PIECES: i64 = 1_000_000_000;
/// The place of this fleet's stock.
pub(super) const PLACE: &str = "logistics";

pub(super) async fn list(State(api): State<ApiClient>, _: User) -> Response {
    match all(&api).await {
        Ok(rendered) => Json(rendered).into_response(),
        Err(response) => refused(&response),
    }
}

async fn all(api: &ApiClient) -> Result<Vec<Value>, ApiResponse> {
    let products: Vec<Product> = lists::all(|| api.get(&["api", "products"])).await?;
    let mut levels: HashMap<String, i64> = HashMap::new();
    for some in products.chunks(100) {
        let request = api.get(&["api", "stock", "levels"]).query("place_id", PLACE).query("limit", 100);
        let request = some.iter().fold(request, |request, product| request.query("product_id", &product.id));
        let page: Page<Level> = request.send().await.ok()?;
        levels.extend(page.data.into_iter().map(|level| (level.product_id, level.available)));
    }
    Ok(products.iter().map(|product| render(product, levels.get(&product.id).copied())).collect())
}

pub(super) async fn one(State(api): State<ApiClient>, _: User, Path(number): Path<String>) -> Response {
    let found = async {
        let Some(product) = find::<Product>(&api, "products", &number).await? else { return Ok(None) };
        let stock = available(&api, &product.id).await?;
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
    let (fields, stock) = match api_body(&body) {
        Ok(read) => read,
        Err(message) => return error(StatusCode::BAD_REQUEST, message),
    };
    let created = async {
        let created: Product = api.post(&["api", "products"]).json(fields).send().await.ok()?;
        if let Some(stock) = stock {
            set_stock(&api, &created.id, stock).await?;
        }
        Ok::<_, ApiResponse>(created)
    };
    match created.await {
        Ok(created) => (StatusCode::CREATED, Json(render_brief(&created))).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn change(Admin(api): Admin, Path(number): Path<String>, AnyJson(body): AnyJson) -> Response {
    let (fields, stock) = match api_body(&body) {
        Ok(read) => read,
        Err(message) => return error(StatusCode::BAD_REQUEST, message),
    };
    let changed = async {
        let Some(mut product) = find::<Product>(&api, "products", &number).await? else { return Ok(None) };
        if !fields.is_empty() {
            product = api.patch(&["api", "products", &product.id]).json(fields).send().await.ok()?;
        }
        if let Some(stock) = stock {
            set_stock(&api, &product.id, stock).await?;
        }
        Ok::<_, ApiResponse>(Some(product))
    };
    match changed.await {
        Ok(Some(product)) => Json(render_brief(&product)).into_response(),
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

pub(super) async fn remove(Admin(api): Admin, Path(number): Path<String>) -> Response {
    let deleted = async {
        let Some(product) = find::<Product>(&api, "products", &number).await? else { return Ok(false) };
        api.delete(&["api", "products", &product.id]).send().await.check()?;
        Ok::<_, ApiResponse>(true)
    };
    match deleted.await {
        Ok(true) => Json(json!({"message": "Product deleted"})).into_response(),
        Ok(false) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

/// The product for the API and the new stock, or the error in the body.
fn api_body(body: &Value) -> Result<(Map<String, Value>, Option<i64>), &'static str> {
    let mut fields = Map::new();
    for (theirs, ours) in [("nom", "name"), ("description", "description"), ("categorie", "category")] {
        if let Some(value) = body.get(theirs) {
            fields.insert(ours.into(), value.clone());
        }
    }
    if let Some(price) = body.get("prix") {
        let price = number(price).ok_or("prix non valide")?;
        fields.insert("price".into(), json!(price));
    }
    let stock = match body.get("stock") {
        None => None,
        Some(stock) => Some(whole(stock).filter(|stock| (0..=MOST_PIECES).contains(stock)).ok_or("stock non valide")?),
    };
    Ok((fields, stock))
}

/// The available pieces of a product.
async fn available(api: &ApiClient, product: &str) -> Result<i64, ApiResponse> {
    let request = api.get(&["api", "stock", "levels"]).query("product_id", product).query("place_id", PLACE);
    let level: Option<Level> = lists::first(request).await?;
    Ok(level.unwrap_or_default().available)
}

/// Sets the available pieces of a product.
async fn set_stock(api: &ApiClient, product: &str, stock: i64) -> Result<(), ApiResponse> {
    let body = json!({"available": stock, "reason": "set by the dialect ms-client"});
    api.put(&["api", "stock", "levels", product, PLACE, "available"]).json(body).send().await.check().map(drop)
}

/// Adds pieces, or removes them for a negative `delta`; once for each id.
pub(super) async fn adjust(
    api: &ApiClient,
    product: &str,
    delta: i64,
    reason: &str,
    id: Option<&str>,
) -> Result<(), ApiResponse> {
    let mut body = json!({"product_id": product, "place_id": PLACE, "delta": delta, "reason": reason});
    if let Some(id) = id {
        body["id"] = id.into();
    }
    api.post(&["api", "stock", "adjustments"]).json(body).send().await.check().map(drop)
}

fn render(product: &Product, stock: Option<i64>) -> Value {
    json!({
        "id": product.number,
        "nom": product.name,
        "description": product.description,
        "prix": product.price().ok().map(money),
        "stock": stock.unwrap_or_default(),
        "categorie": product.category,
    })
}

/// A product without price and stock.
fn render_brief(product: &Product) -> Value {
    json!({"id": product.number, "nom": product.name})
}
