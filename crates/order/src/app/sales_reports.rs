//! Reads for the reports of sales and stock.

use std::collections::{BTreeMap, HashMap};

use super::App;
use crate::{
    clients::{AvailabilityBound, Level},
    domain::{Day, Grain, Sums, segments},
    error::Error,
    store::sales::{self, GroupBy},
};

/// Most products whose names are requested from the catalogue at once.
const NAME_BATCH: usize = 1_000;

/// The days of a report, from the first day up to and without `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DayRange {
    pub(crate) from: Day,
    pub(crate) end: Day,
}

/// The places of a report; `None`: all.
pub(crate) type Places = Option<Vec<String>>;

/// Sales of each day that has some, and their total.
pub(crate) async fn sales_by_day(
    app: &App,
    range: DayRange,
    places: &Places,
) -> Result<(Vec<(Day, Sums)>, Sums), Error> {
    let mut tx = app.db.snapshot().await?;
    let mut days: BTreeMap<Day, Sums> = BTreeMap::new();
    for (day, sums) in sales::period_totals(&mut tx, Grain::Day, range.from, range.end, places.as_ref()).await? {
        days.entry(day).or_default().add(sums);
    }
    let total = Sums::total(days.values());
    Ok((days.into_iter().collect(), total))
}

/// Sales of each product that has some, and the total of the whole orders.
pub(crate) async fn sales_by_product(
    app: &App,
    range: DayRange,
    places: &Places,
) -> Result<(Vec<(String, Sums)>, Sums), Error> {
    let segments = segments(range.from, range.end);
    let mut tx = app.db.snapshot().await?;
    let products = sales::sums(&mut tx, GroupBy::Product, &segments, places.as_ref()).await?;
    let all = sales::sums(&mut tx, GroupBy::Nothing, &segments, places.as_ref()).await?;
    Ok((products.into_iter().collect(), all.into_values().next().unwrap_or_default()))
}

/// Sales of each product that has some.
pub(crate) async fn product_sales(app: &App, range: DayRange, places: &Places) -> Result<Vec<(String, Sums)>, Error> {
    let mut tx = app.db.snapshot().await?;
    let segments = segments(range.from, range.end);
    let products = sales::sums(&mut tx, GroupBy::Product, &segments, places.as_ref()).await?;
    Ok(products.into_iter().collect())
}

/// Sales of each place that has some, and their total.
pub(crate) async fn sales_by_place(
    app: &App,
    range: DayRange,
    places: &Places,
) -> Result<(Vec<(String, Sums)>, Sums), Error> {
    let mut tx = app.db.snapshot().await?;
    let segments = segments(range.from, range.end);
    let found = sales::sums(&mut tx, GroupBy::Place, &segments, places.as_ref()).await?;
    let total = Sums::total(found.values());
    Ok((found.into_iter().collect(), total))
}

/// The length of the periods of a trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Period {
    Day,
    Week,
    Month,
}

impl Period {
    /// The first day of the period that a day is in.
    fn start(self, day: Day) -> Day {
        match self {
            Self::Day => day,
            Self::Week => day.week(),
            Self::Month => day.month(),
        }
    }
}

/// Sales of each period and place that has some, in their order.
pub(crate) async fn trends(
    app: &App,
    range: DayRange,
    period: Period,
    places: &Places,
) -> Result<BTreeMap<(Day, String), Sums>, Error> {
    let DayRange { from, end } = range;
    // Whole months have rows of their own; the days before and after them are read one by one.
    let (first_month, last_month) = if period == Period::Month { from.whole_months(end) } else { (end, end) };
    let mut tx = app.db.snapshot().await?;
    let mut periods: BTreeMap<(Day, String), Sums> = BTreeMap::new();
    let parts =
        [(Grain::Day, from, first_month), (Grain::Month, first_month, last_month), (Grain::Day, last_month, end)];
    for (grain, from, end) in parts.into_iter().filter(|(_, from, end)| from < end) {
        for (day, place, sums) in sales::periods_by_place(&mut tx, grain, from, end, places.as_ref()).await? {
            periods.entry((period.start(day), place)).or_default().add(sums);
        }
    }
    Ok(periods)
}

/// The stock levels within a bound, and whether there are more than were read.
pub(crate) async fn stock_levels(
    app: &App,
    bound: AvailabilityBound,
    places: &Places,
) -> Result<(Vec<Level>, bool), Error> {
    Ok(app.clients.levels(bound, places.as_deref()).await?)
}

/// The names of products by id, as far as the catalogue answers in time: a report is useful without them.
pub(crate) async fn product_names(app: &App, ids: &[&str]) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for ids in ids.chunks(NAME_BATCH) {
        match app.clients.products(ids.iter().map(|id| (*id).to_owned()).collect()).await {
            Ok(found) => names.extend(found.into_values().map(|product| (product.id, product.name))),
            Err(_) => break,
        }
    }
    names
}
