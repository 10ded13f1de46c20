//! Reports of sales and stock. Admins see all stores, managers theirs.
//!
//! Sales count by the day (UTC) on which an order was placed, from its confirmation on, less what came back; a cancelled order
//! counts no more.

use std::collections::{BTreeMap, HashMap};

use auth::{Allow, Caller, ManagerOrAdmin};
use axum::extract::State as AxumState;
use chassis::{Json, Problem, Query};
use commerce::{Amount, Currency, PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{State, orders::bad};
use crate::{
    clients::Bound,
    domain::{Day, Grain, Sums, segments},
    error::Error,
    store::sales::{self, By},
};

/// Days that a report covers when nobody says.
const USUAL: i64 = 30;
/// Most days of a report that lists them.
const MOST_DAYS: i64 = 3_700;
/// Products whose names are asked for at once.
const NAMES: usize = 1_000;

/// What was sold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sums)]
pub(crate) struct SumsBody {
    /// Confirmed orders; of a product, those that hold it.
    orders: i64,
    /// Pieces, less those that came back.
    quantity: i64,
    /// Money, less that of what came back; of products without the adjustments of their orders.
    revenue: Amount,
}

impl From<Sums> for SumsBody {
    fn from(sums: Sums) -> Self {
        Self { orders: sums.orders, quantity: sums.quantity, revenue: Amount::from_minor(sums.revenue) }
    }
}

/// A row of a report: of a store, a product or a day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesRow)]
pub(crate) struct SalesRow {
    /// Of this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<PlaceId>,
    /// Of this product.
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<ProductId>,
    /// The product's name, if the catalogue told it in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Of this day, or of the week or month that begins with it.
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

/// What was sold in a range of days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesReport, example = json!({"from": "2026-01-01", "to": "2026-01-31", "currency": "EUR",
    "rows": [{"place_id": "store-1", "orders": 12, "quantity": 30, "revenue": 415.5}],
    "total": {"orders": 12, "quantity": 30, "revenue": 415.5}}))]
pub(crate) struct SalesReport {
    /// The first day.
    from: String,
    /// The last day.
    to: String,
    /// Of all amounts here.
    currency: Currency,
    /// By store in their order, by product with the best revenue first, by day in their order.
    rows: Vec<SalesRow>,
    /// Of all whole orders, with their adjustments.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<SumsBody>,
}

/// Which sales.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SalesQuery {
    /// store, product or day; store if not said.
    by: Option<String>,
    /// The first day, YYYY-MM-DD; thirty days with the last one if not said.
    from: Option<String>,
    /// The last day, YYYY-MM-DD; today (UTC) if not said.
    to: Option<String>,
    /// In this place.
    place_id: Option<String>,
}

/// Which products.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TopQuery {
    /// How many, from 1 to 100; 5 if not said.
    limit: Option<usize>,
    /// The first day, YYYY-MM-DD; thirty days with the last one if not said.
    from: Option<String>,
    /// The last day, YYYY-MM-DD; today (UTC) if not said.
    to: Option<String>,
    /// In this place.
    place_id: Option<String>,
}

/// Which levels.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShortQuery {
    /// At most so many pieces can be promised; 5 if not said.
    max: Option<i64>,
    /// In this place.
    place_id: Option<String>,
}

/// Which levels.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OverQuery {
    /// At least so many pieces can be promised; 100 if not said.
    min: Option<i64>,
    /// In this place.
    place_id: Option<String>,
}

/// The places that a report is to be about; none: all of them.
fn places(caller: &Caller, asked: Option<&String>) -> Result<Option<Vec<String>>, Problem> {
    match asked {
        Some(place) => {
            super::own_place(caller, place)?;
            Ok(Some(vec![place.clone()]))
        }
        None if caller.is_admin() => Ok(None),
        None => Ok(Some(caller.stores.clone())),
    }
}

/// The first day, and the one after the last.
fn range(from: Option<&String>, to: Option<&String>) -> Result<(Day, Day), Problem> {
    let day = |field: &str, text: Option<&String>| match text {
        None => Ok(None),
        Some(text) => text.parse::<Day>().map(Some).map_err(|message| bad(field, message)),
    };
    let last = day("to", to)?.unwrap_or_else(|| Day::of(Timestamp::now()));
    let first = day("from", from)?.unwrap_or(Day(last.0 - (USUAL - 1)));
    if first > last {
        return Err(bad("from", "is after `to`"));
    }
    Ok((first, last.next()))
}

fn report(state: &State, (from, end): (Day, Day), rows: Vec<SalesRow>, total: Option<Sums>) -> Json<SalesReport> {
    Json(SalesReport {
        from: from.to_string(),
        to: Day(end.0 - 1).to_string(),
        currency: state.checkout.config.currency,
        rows,
        total: total.map(Into::into),
    })
}

/// The names of products, as far as the catalogue tells them in time: a report is worth having without.
async fn names(state: &State, ids: &[&str]) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for ids in ids.chunks(NAMES) {
        match state.checkout.clients.products(ids.iter().map(|id| (*id).to_owned()).collect()).await {
            Ok(found) => names.extend(found.into_values().map(|product| (product.id, product.name))),
            Err(_) => break,
        }
    }
    names
}

/// Products as rows, with their names.
async fn named(state: &State, found: Vec<(String, Sums)>) -> Vec<SalesRow> {
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    let mut names = names(state, &ids).await;
    let row = |(id, sums): (String, Sums)| SalesRow {
        name: names.remove(&id),
        product_id: Some(ProductId::trusted(id)),
        ..SalesRow::new(sums)
    };
    found.into_iter().map(row).collect()
}

/// Sales by store, product or day. For admins, and managers of the stores.
#[utoipa::path(get, path = "/api/reports/sales", tag = "reports", params(SalesQuery), responses((status = 200, body = SalesReport), (status = 403)))]
pub(super) async fn sales(
    AxumState(state): AxumState<State>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<SalesQuery>,
) -> Result<Json<SalesReport>, Problem> {
    let by = query.by.as_deref().unwrap_or("store");
    if !["store", "product", "day"].contains(&by) {
        return Err(bad("by", "store, product or day"));
    }
    let (places, range) = (places(&caller, query.place_id.as_ref())?, range(query.from.as_ref(), query.to.as_ref())?);
    let (from, end) = range;
    if by == "day" {
        few(range)?;
    }
    let parts = segments(from, end);
    let read = async {
        let mut tx = state.checkout.db.snapshot().await?;
        Ok::<_, Error>(match by {
            "day" => {
                let mut days: BTreeMap<Day, Sums> = BTreeMap::new();
                for (day, _, sums) in sales::periods(&mut tx, Grain::Day, range, false, places.as_ref()).await? {
                    let entry = days.entry(day).or_default();
                    *entry = entry.plus(sums, false);
                }
                let total = days.values().fold(Sums::default(), |all, day| all.plus(*day, false));
                let row = |(day, sums): (Day, Sums)| SalesRow { day: Some(day.to_string()), ..SalesRow::new(sums) };
                (days.into_iter().map(row).collect(), Vec::new(), total)
            }
            "product" => {
                let products = sales::sums(&mut tx, By::Product, &parts, places.as_ref()).await?;
                let all = sales::sums(&mut tx, By::All, &parts, places.as_ref()).await?;
                (Vec::new(), products.into_iter().collect(), all.into_values().next().unwrap_or_default())
            }
            _ => {
                let stores = sales::sums(&mut tx, By::Place, &parts, places.as_ref()).await?;
                let total = stores.values().fold(Sums::default(), |all, store| all.plus(*store, false));
                let row = |(place, sums)| SalesRow { place_id: Some(PlaceId::trusted(place)), ..SalesRow::new(sums) };
                (stores.into_iter().map(row).collect(), Vec::new(), total)
            }
        })
    };
    let (mut rows, mut products, total): (Vec<SalesRow>, Vec<(String, Sums)>, Sums) = read.await?;
    products.sort_by(|(a, x), (b, y)| y.revenue.cmp(&x.revenue).then_with(|| a.cmp(b)));
    rows.extend(named(&state, products).await);
    Ok(report(&state, range, rows, Some(total)))
}

/// The products of which most pieces were sold. For admins, and managers of the stores.
#[utoipa::path(get, path = "/api/reports/top-sellers", tag = "reports", params(TopQuery), responses((status = 200, body = SalesReport), (status = 403)))]
pub(super) async fn top_sellers(
    AxumState(state): AxumState<State>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<TopQuery>,
) -> Result<Json<SalesReport>, Problem> {
    let limit = query.limit.unwrap_or(5);
    if !(1..=100).contains(&limit) {
        return Err(bad("limit", format!("{limit} is not from 1 to 100")));
    }
    let (places, range) = (places(&caller, query.place_id.as_ref())?, range(query.from.as_ref(), query.to.as_ref())?);
    let read = async {
        let mut tx = state.checkout.db.snapshot().await?;
        Ok::<_, Error>(sales::sums(&mut tx, By::Product, &segments(range.0, range.1), places.as_ref()).await?)
    };
    let mut products: Vec<(String, Sums)> = read.await?.into_iter().collect();
    products.sort_by(|(a, x), (b, y)| y.quantity.cmp(&x.quantity).then_with(|| a.cmp(b)));
    products.truncate(limit);
    let rows = named(&state, products).await;
    Ok(report(&state, range, rows, None))
}

/// Refuses more days than a list of them should have.
fn few((from, end): (Day, Day)) -> Result<(), Problem> {
    if end.0 - from.0 > MOST_DAYS { Err(bad("from", format!("at most {MOST_DAYS} days"))) } else { Ok(()) }
}

/// Sales of each place by day, week (from Monday on) or month. For admins, and managers of the stores.
#[utoipa::path(get, path = "/api/reports/trends", tag = "reports", params(SalesQuery), responses((status = 200, body = SalesReport), (status = 403)))]
pub(super) async fn trends(
    AxumState(state): AxumState<State>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<SalesQuery>,
) -> Result<Json<SalesReport>, Problem> {
    let start: fn(Day) -> Day = match query.by.as_deref() {
        None | Some("day") => |day| day,
        Some("week") => Day::week,
        Some("month") => Day::month,
        Some(_) => return Err(bad("by", "day, week or month")),
    };
    let (places, range) = (places(&caller, query.place_id.as_ref())?, range(query.from.as_ref(), query.to.as_ref())?);
    few(range)?;
    // Whole months are read as such.
    let (from, end) = range;
    let months = if query.by.as_deref() == Some("month") { from.whole_months(end) } else { (end, end) };
    let read = async {
        let mut tx = state.checkout.db.snapshot().await?;
        let mut found = Vec::new();
        for (grain, days) in [(Grain::Day, (from, months.0)), (Grain::Month, months), (Grain::Day, (months.1, end))] {
            if days.0 < days.1 {
                found.extend(sales::periods(&mut tx, grain, days, true, places.as_ref()).await?);
            }
        }
        Ok::<_, Error>(found)
    };
    let mut periods: BTreeMap<(Day, String), Sums> = BTreeMap::new();
    for (day, place, sums) in read.await? {
        let entry = periods.entry((start(day), place)).or_default();
        *entry = entry.plus(sums, false);
    }
    let total = periods.values().fold(Sums::default(), |all, period| all.plus(*period, false));
    let row = |((day, place), sums): ((Day, String), Sums)| SalesRow {
        place_id: Some(PlaceId::trusted(place)),
        day: Some(day.to_string()),
        ..SalesRow::new(sums)
    };
    Ok(report(&state, range, periods.into_iter().map(row).collect(), Some(total)))
}

/// A level that is short or too much.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelRow)]
pub(crate) struct LevelRow {
    place_id: PlaceId,
    product_id: ProductId,
    /// The product's name, if the catalogue told it in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Pieces that are there.
    on_hand: i64,
    /// Pieces that can be promised.
    available: i64,
}

/// Levels that are short or too much.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelReport, example = json!({"rows": [{"place_id": "store-1", "product_id": "1", "name": "Tea", "on_hand": 3,
    "available": 2}], "truncated": false}))]
pub(crate) struct LevelReport {
    /// The least available first for shortages, the most first for overstock.
    rows: Vec<LevelRow>,
    /// Whether there are more of them than these.
    truncated: bool,
}

async fn levels(state: &State, bound: Bound, places: Option<Vec<String>>) -> Result<Json<LevelReport>, Problem> {
    // A manager of no store asks for nothing.
    if places.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Json(LevelReport { rows: Vec::new(), truncated: false }));
    }
    let (mut found, truncated) = state.checkout.clients.levels(bound, places.as_ref()).await.map_err(Error::from)?;
    found.sort_by_key(|level| match bound {
        Bound::Most(_) => level.available,
        Bound::Least(_) => -level.available,
    });
    let mut ids: Vec<&str> = found.iter().map(|level| level.product_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = names(state, &ids).await;
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

/// Products of which few pieces can be promised. For admins, and managers of the stores.
#[utoipa::path(get, path = "/api/reports/shortages", tag = "reports", params(ShortQuery), responses((status = 200, body = LevelReport), (status = 403), (status = 503)))]
pub(super) async fn shortages(
    AxumState(state): AxumState<State>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<ShortQuery>,
) -> Result<Json<LevelReport>, Problem> {
    levels(&state, Bound::Most(query.max.unwrap_or(5)), places(&caller, query.place_id.as_ref())?).await
}

/// Products of which many pieces could be promised. For admins, and managers of the stores.
#[utoipa::path(get, path = "/api/reports/overstock", tag = "reports", params(OverQuery), responses((status = 200, body = LevelReport), (status = 403), (status = 503)))]
pub(super) async fn overstock(
    AxumState(state): AxumState<State>,
    caller: Allow<ManagerOrAdmin>,
    Query(query): Query<OverQuery>,
) -> Result<Json<LevelReport>, Problem> {
    levels(&state, Bound::Least(query.min.unwrap_or(100)), places(&caller, query.place_id.as_ref())?).await
}
