//! `/api/stock/levels`: the quantities of products in places.

use auth::{Allow, ManagerOrAdmin, ServiceOrStaff};
use axum::extract::State;
use chassis::{Json, Kind, Path, Problem};
use commerce::{
    PlaceId, ProductId,
    page::{Page, PageQuery},
};
use serde::{Deserialize, Serialize};
use service::{List, bad_page};
use utoipa::{IntoParams, ToSchema};

use super::{Api, MAX_PIECES, reason_error, require_place_access, unknown_product_error};
use crate::{
    domain::{Level, StockKey},
    error::Error,
    store::{
        lists::{self, StockFilter},
        replenishments,
    },
};

/// The quantities of a product in a place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Level)]
pub(crate) struct LevelBody {
    product_id: ProductId,
    place_id: PlaceId,
    /// Pieces in the place.
    on_hand: i64,
    /// Pieces reserved for orders.
    reserved: i64,
    /// Pieces that can still be reserved: `on_hand` less `reserved`.
    available: i64,
    /// Pieces in transit to this place; they count in no `on_hand`.
    in_transit: i64,
    /// While `available` is below it, the level is low, which is published as an event. Absent: never low.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<i64>,
}

/// The filter of a list of levels.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LevelFilter {
    /// Levels of any of these products; repeat the parameter for up to 100.
    product_id: Vec<String>,
    /// Levels in any of these places; repeat the parameter for up to 100.
    place_id: Vec<String>,
    /// Levels with at least this many pieces available.
    min_available: Option<i64>,
    /// Levels with at most this many pieces available.
    max_available: Option<i64>,
}

impl LevelFilter {
    fn to_stock_filter(&self) -> Result<StockFilter, Problem> {
        let any_of = |field: &str, ids: &Vec<String>| match ids.len() {
            0 => Ok(None),
            1..=100 => Ok(Some(ids.clone())),
            _ => Err(Problem::new(Kind::Unreadable, format!("{field}: at most 100"))),
        };
        Ok(StockFilter {
            products: any_of("product_id", &self.product_id)?,
            places: any_of("place_id", &self.place_id)?,
            min_available: self.min_available,
            max_available: self.max_available,
        })
    }
}

/// The threshold of a level.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Threshold {
    /// The level is low while `available` is below it; from 0 to 1,000,000. Null removes the threshold.
    threshold: Option<i64>,
}

fn body(key: StockKey, level: &Level, in_transit: i64) -> LevelBody {
    LevelBody {
        product_id: key.product_id,
        place_id: key.place_id,
        on_hand: level.on_hand,
        reserved: level.reserved,
        available: level.available(),
        in_transit,
        threshold: level.threshold,
    }
}

/// List stock levels
///
/// Sorted by product and place. For staff of any place, and services.
#[utoipa::path(get, path = "/api/stock/levels", operation_id = "listStockLevels", params(LevelFilter, PageQuery), responses((status = 200, body = Page<LevelBody>)), tag = "stock")]
pub(crate) async fn list_levels(
    State(api): State<Api>,
    _caller: Allow<ServiceOrStaff>,
    List { filter, paging }: List<LevelFilter>,
) -> Result<Json<Page<LevelBody>>, Problem> {
    let key = &api.cursors.levels;
    let filter = filter.to_stock_filter()?;
    let paging = paging.page_request(key).map_err(bad_page)?;
    let (rows, in_transit, total) = async {
        let mut tx = api.db.snapshot().await?;
        let total = if paging.include_total { Some(lists::count_levels(&mut tx, &filter).await?) } else { None };
        let rows = lists::levels(&mut tx, &filter, &paging).await?;
        let products: Vec<&str> = rows.iter().map(|(key, _)| key.product_id.as_str()).collect();
        let in_transit = replenishments::in_transit(&mut tx, Some(&products)).await?;
        Ok::<_, Error>((rows, in_transit, total))
    }
    .await?;
    let rows: Vec<LevelBody> = rows
        .into_iter()
        .map(|(key, level)| {
            let pieces = in_transit.get(&key).copied().unwrap_or_default();
            body(key, &level, pieces)
        })
        .collect();
    let position = |row: &LevelBody| (row.product_id.to_string(), row.place_id.to_string());
    Ok(Json(paging.page(key, rows, total, position)))
}

/// The quantity that shall be available.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"available": 24, "reason": "counted"}))]
pub(crate) struct Available {
    /// Pieces, from 0 to 1,000,000,000.
    available: i64,
    /// Why, for the ledger; 1 to 500 characters.
    reason: String,
}

/// Set the available quantity
///
/// Adjusts the level by the difference, after a count for example. Reserved pieces are not touched, so orders can be placed
/// meanwhile. For admins, and managers of the place.
#[utoipa::path(put, path = "/api/stock/levels/{product_id}/{place_id}/available", operation_id = "setAvailableStock",
    params(("product_id" = ProductId, Path), ("place_id" = PlaceId, Path)), request_body = Available,
    responses((status = 200, body = LevelBody), (status = 404, description = "The place does not exist"),
        (status = 422, description = "A field breaks a rule, or the product does not exist"),
        (status = 503, description = "The product service did not answer")),
    tag = "stock")]
pub(crate) async fn set_available(
    State(api): State<Api>,
    caller: Allow<ManagerOrAdmin>,
    Path((product_id, place_id)): Path<(ProductId, PlaceId)>,
    Json(Available { available, reason }): Json<Available>,
) -> Result<Json<LevelBody>, Problem> {
    require_place_access(&caller, place_id.as_str())?;
    if !(0..=MAX_PIECES).contains(&available) {
        return Err(Problem::invalid("available", "range", format!("from 0 to {MAX_PIECES}")));
    }
    if let Some(error) = reason_error("", &reason) {
        return Err(Problem::fields(vec![error]));
    }
    let key = StockKey { place_id, product_id };
    require_known_product(&api, &key).await?;
    let level = api.queue.set_available(key.clone(), available, reason, caller.actor()).await?;
    body_with_transit(&api, key, level).await
}

async fn require_known_product(api: &Api, key: &StockKey) -> Result<(), Problem> {
    if api.catalogue.missing([&key.product_id].into()).await?.is_empty() {
        return Ok(());
    }
    Err(Problem::fields(vec![unknown_product_error("", &key.product_id)]))
}

async fn body_with_transit(api: &Api, key: StockKey, level: Level) -> Result<Json<LevelBody>, Problem> {
    let read = async {
        let mut tx = api.db.read().await?;
        replenishments::in_transit(&mut tx, Some(&[key.product_id.as_str()])).await
    };
    let in_transit = read.await.map_err(Problem::from)?.get(&key).copied().unwrap_or_default();
    Ok(Json(body(key, &level, in_transit)))
}

/// Set the threshold of a level
///
/// A level below its threshold is published as an event, and requests goods from the logistics centre if the service is
/// configured so. For admins, and managers of the place.
#[utoipa::path(put, path = "/api/stock/levels/{product_id}/{place_id}/threshold", operation_id = "setStockThreshold",
    params(("product_id" = ProductId, Path), ("place_id" = PlaceId, Path)), request_body = Threshold,
    responses((status = 200, body = LevelBody), (status = 404, description = "The place does not exist"),
        (status = 422, description = "A field breaks a rule, or the product does not exist"),
        (status = 503, description = "The product service did not answer")),
    tag = "stock")]
pub(crate) async fn set_threshold(
    State(api): State<Api>,
    caller: Allow<ManagerOrAdmin>,
    Path((product_id, place_id)): Path<(ProductId, PlaceId)>,
    Json(Threshold { threshold }): Json<Threshold>,
) -> Result<Json<LevelBody>, Problem> {
    require_place_access(&caller, place_id.as_str())?;
    if threshold.is_some_and(|threshold| !(0..=1_000_000).contains(&threshold)) {
        return Err(Problem::invalid("threshold", "range", "from 0 to 1000000, or null"));
    }
    let key = StockKey { place_id, product_id };
    require_known_product(&api, &key).await?;
    let level = api.queue.set_threshold(key.clone(), threshold).await?;
    body_with_transit(&api, key, level).await
}
