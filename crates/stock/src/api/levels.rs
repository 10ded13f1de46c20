//! `/api/stock/levels`: how much of what is where.

use auth::{Allow, ManagerOrAdmin, ServiceOrStaff};
use axum::extract::State;
use chassis::{Json, Kind, Path, Problem, Query};
use commerce::{
    PlaceId, ProductId,
    page::{Page, PageQuery},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Api, MAX_PIECES, page_problem, reason_error, require_place_access, unknown_product_error};
use crate::{
    commands::{Command, Outcome},
    domain::{Level, StockKey},
    error::Error,
    store::{
        lists::{self, Filter},
        replenishments,
    },
};

/// How much of a product is in a place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Level)]
pub(crate) struct LevelBody {
    product_id: ProductId,
    place_id: PlaceId,
    on_hand: i64,
    reserved: i64,
    /// What can still be promised: on hand less reserved.
    available: i64,
    /// Pieces on their way here from another place, which belong to neither.
    in_transit: i64,
    /// Below so many available, people are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<i64>,
}

/// Which levels.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LevelsQuery {
    /// Of one of these products; at most 100 of them.
    product_id: Vec<String>,
    /// In one of these places; at most 100 of them.
    place_id: Vec<String>,
    /// Of which at least so much can be promised.
    min_available: Option<i64>,
    /// Of which at most so much can be promised.
    max_available: Option<i64>,
    /// Rows wanted, 1 to 100; 20 if not said.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Numbered page, from 1.
    page: Option<u32>,
    /// Whether the answer tells the `total`.
    include_total: Option<bool>,
}

impl LevelsQuery {
    fn filter(&self) -> Result<Filter, Problem> {
        let some = |field: &str, ids: &Vec<String>| match ids.len() {
            0 => Ok(None),
            1..=100 => Ok(Some(ids.clone())),
            _ => Err(Problem::new(Kind::Unreadable, format!("{field}: at most 100"))),
        };
        Ok(Filter {
            products: some("product_id", &self.product_id)?,
            places: some("place_id", &self.place_id)?,
            min_available: self.min_available,
            max_available: self.max_available,
        })
    }
}

/// Which lines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LevelQuery {
    /// Of this product.
    pub(super) product_id: Option<String>,
    /// In this place.
    pub(super) place_id: Option<String>,
    /// Rows wanted, 1 to 100; 20 if not said.
    pub(super) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// Numbered page, from 1.
    pub(super) page: Option<u32>,
    /// Whether the answer tells the `total`.
    pub(super) include_total: Option<bool>,
}

/// Below how many available people are told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Threshold {
    /// From 0 to 1,000,000; null: nobody is told.
    threshold: Option<i64>,
}

impl LevelQuery {
    pub(super) fn page_query(&self) -> PageQuery {
        PageQuery { limit: self.limit, cursor: self.cursor.clone(), page: self.page, include_total: self.include_total }
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            products: self.product_id.clone().map(|product| vec![product]),
            places: self.place_id.clone().map(|place| vec![place]),
            ..Filter::default()
        }
    }
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

/// Levels by product and place. For staff of any place and services.
#[utoipa::path(get, path = "/api/stock/levels", params(LevelsQuery), responses((status = 200, body = Page<LevelBody>)), tag = "stock")]
pub(crate) async fn list_levels(
    State(api): State<Api>,
    _caller: Allow<ServiceOrStaff>,
    Query(query): Query<LevelsQuery>,
) -> Result<Json<Page<LevelBody>>, Problem> {
    let key = &api.cursors.levels;
    let filter = query.filter()?;
    let paging =
        PageQuery { limit: query.limit, cursor: query.cursor, page: query.page, include_total: query.include_total };
    let paging = paging.page_request(key).map_err(page_problem)?;
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
            let on_their_way = in_transit.get(&key).copied().unwrap_or_default();
            body(key, &level, on_their_way)
        })
        .collect();
    let position = |row: &LevelBody| (row.product_id.to_string(), row.place_id.to_string());
    Ok(Json(paging.page(key, rows, total, position)))
}

/// How much is to be available.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"available": 24, "reason": "counted"}))]
pub(crate) struct Available {
    /// From 0 to 1,000,000,000.
    available: i64,
    /// Why.
    reason: String,
}

/// Puts in or takes out what makes so much available, as one who has counted says it; others may sell meanwhile. For admins,
/// and managers of the place.
#[utoipa::path(put, path = "/api/stock/levels/{product_id}/{place_id}/available", params(("product_id" = ProductId, Path), ("place_id" = PlaceId, Path)), request_body = Available, responses((status = 200, body = LevelBody), (status = 404), (status = 422), (status = 503)), tag = "stock")]
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
    if let Some(wrong) = reason_error("", &reason) {
        return Err(Problem::fields(vec![wrong]));
    }
    let key = StockKey { place_id, product_id };
    require_known_product(&api, &key).await?;
    set(&api, key.clone(), Command::Available { key, available, reason, actor: caller.actor() }).await
}

async fn require_known_product(api: &Api, key: &StockKey) -> Result<(), Problem> {
    if api.catalogue.missing([&key.product_id].into()).await?.is_empty() {
        return Ok(());
    }
    Err(Problem::fields(vec![unknown_product_error("", &key.product_id)]))
}

/// Changes one level, and shows it.
async fn set(api: &Api, key: StockKey, task: Command) -> Result<Json<LevelBody>, Problem> {
    let Outcome::Threshold(level) = api.queue.one(task).await? else { return Err(Error::Corrupt("answer").into()) };
    let level = level?;
    let on_their_way = async {
        let mut tx = api.db.read().await?;
        replenishments::in_transit(&mut tx, Some(&[key.product_id.as_str()])).await
    };
    let in_transit = on_their_way.await.map_err(Problem::from)?.get(&key).copied().unwrap_or_default();
    Ok(Json(body(key, &level, in_transit)))
}

/// Sets below how many available people are told. For admins, and managers of the place.
#[utoipa::path(put, path = "/api/stock/levels/{product_id}/{place_id}/threshold", params(("product_id" = ProductId, Path), ("place_id" = PlaceId, Path)), request_body = Threshold, responses((status = 200, body = LevelBody), (status = 404), (status = 422), (status = 503)), tag = "stock")]
pub(crate) async fn set_threshold(
    State(api): State<Api>,
    caller: Allow<ManagerOrAdmin>,
    Path((product_id, place_id)): Path<(ProductId, PlaceId)>,
    Json(wanted): Json<Threshold>,
) -> Result<Json<LevelBody>, Problem> {
    require_place_access(&caller, place_id.as_str())?;
    if wanted.threshold.is_some_and(|threshold| !(0..=1_000_000).contains(&threshold)) {
        return Err(Problem::invalid("threshold", "range", "from 0 to 1000000, or null"));
    }
    let key = StockKey { place_id, product_id };
    require_known_product(&api, &key).await?;
    set(&api, key.clone(), Command::Threshold(key, wanted.threshold)).await
}
