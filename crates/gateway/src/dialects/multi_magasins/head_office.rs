//! Head office: reports, and products.

use std::{collections::BTreeMap, time::Duration};

use axum::extract::{Path, State};
use chassis::Json;
use commerce::Timestamp;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Refusal, Shop, lines,
    numbers::{Kind, Place, places},
    stores::catalogue,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    money::rounded,
    routes::AnyJson,
};

/// The old reports were of all sales that there were.
const EVER: &str = "2000-01-01";
/// Products that are told of as sold best.
const BEST: usize = 5;
/// At most so many pieces are too few, at least so many too many.
const FEW: i64 = 5;
const MANY: i64 = 100;
/// What trends are of, before today.
const LATELY: Duration = Duration::from_secs(6 * 86_400);

async fn report(api: &ApiClient, name: &str, options: &[(&str, String)]) -> Result<Vec<Value>, ApiResponse> {
    let request = options
        .iter()
        .fold(api.get(&["api", "reports", name]), |request, (option, value)| request.query(option, value));
    match request.send().await.ok()?["rows"].take() {
        Value::Array(rows) => Ok(rows),
        _ => Ok(Vec::new()),
    }
}

fn store<'a>(places: &'a [Place], row: &Value) -> Option<&'a Place> {
    places.iter().find(|place| place.is_store && row["place_id"] == place.id.as_str())
}

pub(super) async fn sales(State(shop): State<Shop>) -> Result<Json<Value>, Refusal> {
    let api = &shop.api;
    let (places, products) = (places(api).await?, catalogue(api).await?);
    let ever = ("from", EVER.to_owned());
    let by_store = report(api, "sales", &[("by", "store".into()), ever.clone()]).await?;
    let best = report(api, "top-sellers", &[("limit", BEST.to_string()), ever]).await?;
    let levels = lists::whole(|| api.get(&["api", "stock", "levels"])).await?;
    let sold: Vec<Value> = by_store
        .iter()
        .filter_map(|row| Some(json!({"nom": store(&places, row)?.name, "total_ventes": row["revenue"]})))
        .collect();
    let best: Vec<Value> =
        best.iter().map(|row| json!({"nom": row["name"], "quantite_totale": row["quantity"]})).collect();
    let left: Vec<Value> = levels
        .iter()
        .filter_map(|level| {
            let (_, product) = products.get(level["product_id"].as_str()?)?;
            let store = &store(&places, level)?.name;
            Some(json!({"magasin": store, "produit": product, "quantite": level["available"]}))
        })
        .collect();
    Ok(Json(json!({"ventes_par_magasin": sold, "produits_vendus": best, "stock_restants": left})))
}

pub(super) async fn performance(State(shop): State<Shop>) -> Result<Json<Value>, Refusal> {
    let api = &shop.api;
    let places = places(api).await?;
    let turnover = report(api, "sales", &[("by", "store".into()), ("from", EVER.into())]).await?;
    let short = report(api, "shortages", &[("max", FEW.to_string())]).await?;
    let over = report(api, "overstock", &[("min", MANY.to_string())]).await?;
    let day = Timestamp::now().minus(LATELY).to_string();
    let lately = report(api, "trends", &[("by", "day".into()), ("from", day.chars().take(10).collect())]).await?;
    let turnover: Vec<Value> = turnover
        .iter()
        .filter_map(|row| Some(json!({"magasin_id": store(&places, row)?.number, "total": row["revenue"]})))
        .collect();
    let mut sales: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &lately {
        if let Some(store) = store(&places, row) {
            *sales.entry(store.number).or_default() += row["orders"].as_i64().unwrap_or_default();
        }
    }
    let trends: Vec<Value> =
        sales.into_iter().map(|(store, sales)| json!({"magasin_id": store, "nombre_ventes": sales})).collect();
    Ok(Json(json!({
        "chiffre_affaires": turnover,
        "ruptures": levels(&shop, &places, &short).await?,
        "surstocks": levels(&shop, &places, &over).await?,
        "tendances": trends,
    })))
}

async fn levels(shop: &Shop, places: &[Place], rows: &[Value]) -> Result<Vec<Value>, ApiResponse> {
    let mut shown = Vec::new();
    for row in rows {
        let Some(store) = store(places, row) else { continue };
        let product = shop.numbers.render(&shop.api, Kind::Products, &row["product_id"]).await?;
        shown.push(json!({"magasin_id": store.number, "produit_id": product, "quantite": row["available"]}));
    }
    Ok(shown)
}

pub(super) async fn change(
    State(shop): State<Shop>,
    Path(named): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Json<Value>, Refusal> {
    let missing = || Refusal::missing("Produit non trouvé");
    let mut wanted: Map<String, Value> = [("nom", "name"), ("prix", "price"), ("description", "description")]
        .into_iter()
        .filter_map(|(theirs, ours)| {
            let value = body.get(theirs).filter(|value| !value.is_null())?;
            Some((ours.to_owned(), value.clone()))
        })
        .collect();
    if let Some(price) = wanted.get_mut("price") {
        let wrong = || Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "prix non valide");
        *price = price.as_f64().and_then(rounded).ok_or_else(wrong)?.into();
    }
    let product = lines::product(&shop, &named).await?.ok_or_else(missing)?;
    let changed = shop.api.patch(&["api", "products", &product]).json(wanted).send().await;
    if changed.is_not_found() {
        return Err(missing());
    }
    changed.ok()?;
    Ok(Json(json!({"message": "Produit mis à jour avec succès"})))
}

pub(super) async fn products(State(shop): State<Shop>) -> Result<Json<Value>, Refusal> {
    let rows = lists::whole(|| shop.api.get(&["api", "products"])).await?;
    let products: Vec<Value> =
        rows.iter().map(|row| json!({"id": row["number"], "nom": row["name"], "prix": row["price"]})).collect();
    Ok(Json(json!({ "produits": products })))
}
