//! Head office: reports, and products.

use std::{collections::BTreeMap, time::Duration};

use axum::extract::{Path, State};
use chassis::Json;
use commerce::Timestamp;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Refusal, Shop, lines,
    numbers::{Kind, places},
    stores::catalogue,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Level, Place, PlaceKind, Product, Report, ReportRow},
    money::rounded,
    routes::AnyJson,
};

/// The first day of reports, before all sales.
const FIRST_DAY: &str = "2000-01-01";
/// Rows of the list of best sellers.
const BEST_SELLERS: usize = 5;
/// Most pieces of a shortage.
const SHORTAGE: i64 = 5;
/// Fewest pieces of an overstock.
const OVERSTOCK: i64 = 100;
/// The days of trends before today.
const TREND_DAYS: Duration = Duration::from_secs(6 * 86_400);

async fn report(api: &ApiClient, name: &str, options: &[(&str, String)]) -> Result<Vec<ReportRow>, ApiResponse> {
    let request = options
        .iter()
        .fold(api.get(&["api", "reports", name]), |request, (option, value)| request.query(option, value));
    request.send().await.ok().map(|report: Report| report.rows)
}

fn store<'a>(places: &'a [Place], id: &str) -> Option<&'a Place> {
    places.iter().find(|place| place.kind == PlaceKind::Store && place.id == id)
}

pub(super) async fn sales(State(shop): State<Shop>) -> Result<Json<Value>, Refusal> {
    let api = &shop.api;
    let (places, products) = (places(api).await?, catalogue(api).await?);
    let from = ("from", FIRST_DAY.to_owned());
    let by_store = report(api, "sales", &[("by", "store".into()), from.clone()]).await?;
    let best = report(api, "top-sellers", &[("limit", BEST_SELLERS.to_string()), from]).await?;
    let levels: Vec<Level> = lists::all(|| api.get(&["api", "stock", "levels"])).await?;
    let sold: Vec<Value> = by_store
        .iter()
        .filter_map(|row| Some(json!({"nom": store(&places, &row.place_id)?.name, "total_ventes": row.revenue})))
        .collect();
    let best: Vec<Value> = best.iter().map(|row| json!({"nom": row.name, "quantite_totale": row.quantity})).collect();
    let left: Vec<Value> = levels
        .iter()
        .filter_map(|level| {
            let product = &products.get(&level.product_id)?.name;
            let store = &store(&places, &level.place_id)?.name;
            Some(json!({"magasin": store, "produit": product, "quantite": level.available}))
        })
        .collect();
    Ok(Json(json!({"ventes_par_magasin": sold, "produits_vendus": best, "stock_restants": left})))
}

pub(super) async fn performance(State(shop): State<Shop>) -> Result<Json<Value>, Refusal> {
    let api = &shop.api;
    let places = places(api).await?;
    let turnover = report(api, "sales", &[("by", "store".into()), ("from", FIRST_DAY.into())]).await?;
    let short = report(api, "shortages", &[("max", SHORTAGE.to_string())]).await?;
    let over = report(api, "overstock", &[("min", OVERSTOCK.to_string())]).await?;
    let day = Timestamp::now().minus(TREND_DAYS).to_string();
    let daily = report(api, "trends", &[("by", "day".into()), ("from", day.chars().take(10).collect())]).await?;
    let turnover: Vec<Value> = turnover
        .iter()
        .filter_map(|row| Some(json!({"magasin_id": store(&places, &row.place_id)?.number, "total": row.revenue})))
        .collect();
    let mut sales: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &daily {
        if let Some(store) = store(&places, &row.place_id) {
            *sales.entry(store.number).or_default() += row.orders;
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

async fn levels(shop: &Shop, places: &[Place], rows: &[ReportRow]) -> Result<Vec<Value>, ApiResponse> {
    let mut rendered = Vec::new();
    for row in rows {
        let Some(store) = store(places, &row.place_id) else { continue };
        let product = shop.numbers.number(&shop.api, Kind::Products, &row.product_id).await?;
        rendered.push(json!({"magasin_id": store.number, "produit_id": product, "quantite": row.available}));
    }
    Ok(rendered)
}

pub(super) async fn change(
    State(shop): State<Shop>,
    Path(named): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Json<Value>, Refusal> {
    let missing = || Refusal::missing("Produit non trouvé");
    let mut change: Map<String, Value> = [("nom", "name"), ("prix", "price"), ("description", "description")]
        .into_iter()
        .filter_map(|(theirs, ours)| {
            let value = body.get(theirs).filter(|value| !value.is_null())?;
            Some((ours.to_owned(), value.clone()))
        })
        .collect();
    if let Some(price) = change.get_mut("price") {
        let wrong = || Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "prix non valide");
        *price = price.as_f64().and_then(rounded).ok_or_else(wrong)?.into();
    }
    let product = lines::product(&shop, &named).await?.ok_or_else(missing)?;
    let changed = shop.api.patch(&["api", "products", &product]).json(change).send().await;
    if changed.is_not_found() {
        return Err(missing());
    }
    changed.check()?;
    Ok(Json(json!({"message": "Produit mis à jour avec succès"})))
}

pub(super) async fn products(State(shop): State<Shop>) -> Result<Json<Value>, Refusal> {
    let rows: Vec<Product> = lists::all(|| shop.api.get(&["api", "products"])).await?;
    let products: Vec<Value> =
        rows.iter().map(|row| json!({"id": row.number, "nom": row.name, "prix": row.price().ok()})).collect();
    Ok(Json(json!({ "produits": products })))
}
