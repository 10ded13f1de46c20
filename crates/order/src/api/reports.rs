//! Reports of sales and stock. Admins see all stores, managers their own.
//!
//! An order counts from its confirmation until its cancellation, on the day (UTC) on which it was placed, without returned
//! pieces.

use auth::{Allow, Caller, ManagerOrAdmin};
use axum::extract::State;
use chassis::{Json, Problem, Query};
use commerce::{Amount, Currency, PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ApiState, request::bad_query, require_own_place};
use crate::{
    app::{
        AvailabilityBound,
        sales_reports::{self, DayRange, Period, Places},
    },
    domain::{Day, Sums},
};

/// Days of a report without `from`.
const DEFAULT_DAYS: i64 = 30;
/// Most days of a report with a row for each day.
const MAX_DAYS: i64 = 3_700;

/// Sums of sales.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sums)]
pub(crate) struct SumsBody {
    /// Confirmed orders; for a product, the orders that contain it.
    orders: i64,
    /// Pieces, without returned ones.
    quantity: i64,
    /// Revenue without returned pieces; for a product, without the adjustments of its orders.
    revenue: Amount,
}

impl From<Sums> for SumsBody {
    fn from(sums: Sums) -> Self {
        Self { orders: sums.orders, quantity: sums.quantity, revenue: Amount::from_minor(sums.revenue) }
    }
}

/// A row of a sales report: a place, a product, a day, or the period of a place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesRow)]
pub(crate) struct SalesRow {
    /// The place.
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<PlaceId>,
    /// The product.
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<ProductId>,
    /// The product's name; missing if the catalogue did not answer in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The day, or the first day of the week or month, as YYYY-MM-DD.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(flatten)]
    sums: SumsBody,
}

impl SalesRow {
    fn new(sums: Sums) -> Self {
        Self { place_id: None, product_id: None, name: None, day: None, sums: sums.into() }
    }
}

/// A sales report of a range of days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesReport, example = json!({"from": "2026-01-01", "to": "2026-01-31", "currency": "EUR",
    "rows": [{"place_id": "store-1", "orders": 12, "quantity": 30, "revenue": 415.5}],
    "total": {"orders": 12, "quantity": 30, "revenue": 415.5}}))]
pub(crate) struct SalesReport {
    /// The first day, as YYYY-MM-DD.
    from: String,
    /// The last day, as YYYY-MM-DD.
    to: String,
    /// The currency of all amounts of the report.
    currency: Currency,
    /// The rows: places and days in their order, products by revenue, top sellers by pieces.
    rows: Vec<SalesRow>,
    /// The sums of all whole orders with their adjustments; missing for top sellers.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<SumsBody>,
}

/// Filter of a sales report.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SalesQuery {
    /// Sales: store (the default), product or day. Trends: day (the default), week or month.
    by: Option<String>,
    /// The first day, YYYY-MM-DD; if missing, 29 days before the last day.
    from: Option<String>,
    /// The last day, YYYY-MM-DD; today (UTC) if missing.
    to: Option<String>,
    /// Only this place; 403 for a manager of other stores.
    place_id: Option<String>,
}

/// Filter of the top sellers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TopSellersQuery {
    /// Number of products, 1 to 100; 5 if missing.
    limit: Option<usize>,
    /// The first day, YYYY-MM-DD; if missing, 29 days before the last day.
    from: Option<String>,
    /// The last day, YYYY-MM-DD; today (UTC) if missing.
    to: Option<String>,
    /// Only this place; 403 for a manager of other stores.
    place_id: Option<String>,
}

/// Filter of the shortages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShortageQuery {
    /// Most available pieces; 5 if missing.
    max: Option<i64>,
    /// Only this place; 403 for a manager of other stores.
    place_id: Option<String>,
}

/// Filter of the overstock.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OverstockQuery {
    /// Fewest available pieces; 100 if missing.
    min: Option<i64>,
    /// Only this place; 403 for a manager of other stores.
    place_id: Option<String>,
}

/// The places of a report; 403 for a place that the caller may not see.
fn places(caller: &Caller, requested: Option<&String>) -> Result<Places, Problem> {
    match requested {
        Some(place) => {
            require_own_place(caller, place)?;
            Ok(Some(vec![place.clone()]))
        }
        None if caller.is_admin() => Ok(None),
        None => Ok(Some(caller.stores.clone())),
    }
}

fn range(from: Option<&String>, to: Option<&String>) -> Result<DayRange, Problem> {
    let day = |field: &str, text: Option<&String>| match text {
        None => Ok(None),
        Some(text) => text.parse::<Day>().map(Some).map_err(|message| bad_query(field, message)),
    };
    let last = day("to", to)?.unwrap_or_else(|| Day::of(Timestamp::now()));
    let from = day("from", from)?.unwrap_or(Day(last.0 - (DEFAULT_DAYS - 1)));
    if from > last {
        return Err(bad_query("from", "is after `to`"));
    }
    Ok(DayRange { from, end: last.next() })
}

/// 400 for a range with too many days to list.
fn check_length(range: DayRange) -> Result<(), Problem> {
    if range.end.0 - range.from.0 > MAX_DAYS {
        Err(bad_query("from", format!("at most {MAX_DAYS} days")))
    } else {
        Ok(())
    }
}

fn report(state: &ApiState, range: DayRange, rows: Vec<SalesRow>, total: Option<Sums>) -> Json<SalesReport> {
    Json(SalesReport {
        from: range.from.to_string(),
        to: Day(range.end.0 - 1).to_string(),
        currency: state.app.config.currency,
        rows,
        total: total.map(Into::into),
    })
}

fn day_row((day, sums): (Day, Sums)) -> SalesRow {
    SalesRow { day: Some(day.to_string()), ..SalesRow::new(sums) }
}

fn place_row((place, sums): (String, Sums)) -> SalesRow {
    SalesRow { place_id: Some(PlaceId::trusted(place)), ..SalesRow::new(sums) }
}

/// Rows of products, with their names.
async fn product_rows(state: &ApiState, products: Vec<(String, Sums)>) -> Vec<SalesRow> {
    let ids: Vec<&str> = products.iter().map(|(id, _)| id.as_str()).collect();
    let mut names = sales_reports::product_names(&state.app, &ids).await;
    let row = |(id, sums): (String, Sums)| SalesRow {
        name: names.remove(&id),
        product_id: Some(ProductId::trusted(id)),
        ..SalesRow::new(sums)
    };
    products.into_iter().map(row).collect()
}

/// Reports sales by store, product or day.
///
/// For admins and managers of the stores. By day, the range has at most 3,700 days.
#[utoipa::path(get, path = "/api/reports/sales", operation_id = "getSalesReport", tag = "reports", params(SalesQuery),
    responses((status = 200, body = SalesReport, description = "The report")))]
pub(super) async fn sales(
    State(state): State<ApiState>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<SalesQuery>,
) -> Result<Json<SalesReport>, Problem> {
    let by = query.by.as_deref().unwrap_or("store");
    if !["store", "product", "day"].contains(&by) {
        return Err(bad_query("by", "store, product or day"));
    }
    let (places, range) = (places(&caller, query.place_id.as_ref())?, range(query.from.as_ref(), query.to.as_ref())?);
    let (rows, total) = match by {
        "day" => {
            check_length(range)?;
            let (days, total) = sales_reports::sales_by_day(&state.app, range, &places).await?;
            (days.into_iter().map(day_row).collect(), total)
        }
        "product" => {
            let (mut products, total) = sales_reports::sales_by_product(&state.app, range, &places).await?;
            products.sort_by(|(a, x), (b, y)| y.revenue.cmp(&x.revenue).then_with(|| a.cmp(b)));
            (product_rows(&state, products).await, total)
        }
        _ => {
            let (found, total) = sales_reports::sales_by_place(&state.app, range, &places).await?;
            (found.into_iter().map(place_row).collect(), total)
        }
    };
    Ok(report(&state, range, rows, Some(total)))
}

/// Reports the products with the most sold pieces.
///
/// For admins and managers of the stores.
#[utoipa::path(get, path = "/api/reports/top-sellers", operation_id = "getTopSellers", tag = "reports",
    params(TopSellersQuery), responses((status = 200, body = SalesReport, description = "The report")))]
pub(super) async fn top_sellers(
    State(state): State<ApiState>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<TopSellersQuery>,
) -> Result<Json<SalesReport>, Problem> {
    let limit = query.limit.unwrap_or(5);
    if !(1..=100).contains(&limit) {
        return Err(bad_query("limit", format!("{limit} is not from 1 to 100")));
    }
    let (places, range) = (places(&caller, query.place_id.as_ref())?, range(query.from.as_ref(), query.to.as_ref())?);
    let mut products = sales_reports::product_sales(&state.app, range, &places).await?;
    products.sort_by(|(a, x), (b, y)| y.quantity.cmp(&x.quantity).then_with(|| a.cmp(b)));
    products.truncate(limit);
    let rows = product_rows(&state, products).await;
    Ok(report(&state, range, rows, None))
}

/// Reports the sales of each place by day, week (from Monday on) or month.
///
/// For admins and managers of the stores. The range has at most 3,700 days.
#[utoipa::path(get, path = "/api/reports/trends", operation_id = "getSalesTrends", tag = "reports", params(SalesQuery),
    responses((status = 200, body = SalesReport, description = "The report")))]
pub(super) async fn trends(
    State(state): State<ApiState>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<SalesQuery>,
) -> Result<Json<SalesReport>, Problem> {
    let period = match query.by.as_deref() {
        None | Some("day") => Period::Day,
        Some("week") => Period::Week,
        Some("month") => Period::Month,
        Some(_) => return Err(bad_query("by", "day, week or month")),
    };
    let (places, range) = (places(&caller, query.place_id.as_ref())?, range(query.from.as_ref(), query.to.as_ref())?);
    check_length(range)?;
    let periods = sales_reports::trends(&state.app, range, period, &places).await?;
    let total = Sums::total(periods.values());
    let row = |((day, place), sums): ((Day, String), Sums)| SalesRow {
        day: Some(day.to_string()),
        ..place_row((place, sums))
    };
    Ok(report(&state, range, periods.into_iter().map(row).collect(), Some(total)))
}

/// A stock level in a report.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelRow)]
pub(crate) struct LevelRow {
    /// The place.
    place_id: PlaceId,
    /// The product.
    product_id: ProductId,
    /// The product's name; missing if the catalogue did not answer in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Pieces on hand.
    on_hand: i64,
    /// Available pieces: those on hand that are not reserved.
    available: i64,
}

/// A report of stock levels.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelReport, example = json!({"rows": [{"place_id": "store-1", "product_id": "1", "name": "Tea", "on_hand": 3,
    "available": 2}], "truncated": false}))]
pub(crate) struct LevelReport {
    /// The levels: for shortages the fewest available pieces first, for overstock the most.
    rows: Vec<LevelRow>,
    /// Whether there are more levels than the report contains.
    truncated: bool,
}

async fn levels(state: &ApiState, bound: AvailabilityBound, places: Places) -> Result<Json<LevelReport>, Problem> {
    // A manager without stores sees no levels; the stock service would take an empty list for all places.
    if places.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Json(LevelReport { rows: Vec::new(), truncated: false }));
    }
    let (mut found, truncated) = sales_reports::stock_levels(&state.app, bound, &places).await?;
    found.sort_by_key(|level| match bound {
        AvailabilityBound::AtMost(_) => level.available,
        AvailabilityBound::AtLeast(_) => -level.available,
    });
    let mut ids: Vec<&str> = found.iter().map(|level| level.product_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = sales_reports::product_names(&state.app, &ids).await;
    let rows = found
        .into_iter()
        .map(|level| LevelRow {
            name: names.get(&level.product_id).cloned(),
            place_id: PlaceId::trusted(level.place_id),
            product_id: ProductId::trusted(level.product_id),
            on_hand: level.on_hand,
            available: level.available,
        })
        .collect();
    Ok(Json(LevelReport { rows, truncated }))
}

/// Reports products with few available pieces.
///
/// For admins and managers of the stores.
#[utoipa::path(get, path = "/api/reports/shortages", operation_id = "getShortages", tag = "reports",
    params(ShortageQuery), responses(
        (status = 200, body = LevelReport, description = "The report"),
        (status = 503, description = "The stock service does not answer")))]
pub(super) async fn shortages(
    State(state): State<ApiState>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<ShortageQuery>,
) -> Result<Json<LevelReport>, Problem> {
    let places = places(&caller, query.place_id.as_ref())?;
    levels(&state, AvailabilityBound::AtMost(query.max.unwrap_or(5)), places).await
}

/// Reports products with many available pieces.
///
/// For admins and managers of the stores.
#[utoipa::path(get, path = "/api/reports/overstock", operation_id = "getOverstock", tag = "reports",
    params(OverstockQuery), responses(
        (status = 200, body = LevelReport, description = "The report"),
        (status = 503, description = "The stock service does not answer")))]
pub(super) async fn overstock(
    State(state): State<ApiState>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<OverstockQuery>,
) -> Result<Json<LevelReport>, Problem> {
    let places = places(&caller, query.place_id.as_ref())?;
    levels(&state, AvailabilityBound::AtLeast(query.min.unwrap_or(100)), places).await
}
