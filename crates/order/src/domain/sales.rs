//! Summaries of sales by day, month and year: what each order adds, and which rows a range of days is made of.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{Datelike, Days, Months, NaiveDate};
use commerce::{Amount, PlaceId, ProductId, Timestamp};

use super::Order;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time.
    pub const fn of(time: Timestamp) -> Self {
        Self(time.micros().div_euclid(DAY))
    }

    /// The day after.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The calendar date; every day of a [`Timestamp`] has one.
    fn date(self) -> NaiveDate {
        let days = Days::new(self.0.unsigned_abs());
        if self.0 < 0 {
            NaiveDate::default().checked_sub_days(days).unwrap_or(NaiveDate::MIN)
        } else {
            NaiveDate::default().checked_add_days(days).unwrap_or(NaiveDate::MAX)
        }
    }

    fn from_date(date: NaiveDate) -> Self {
        Self(date.signed_duration_since(NaiveDate::default()).num_days())
    }

    /// The first day of its month.
    pub fn month(self) -> Self {
        Self(self.0 - i64::from(self.date().day0()))
    }

    fn next_month(self) -> Self {
        self.month().plus_months(1)
    }

    /// The first and the end of the months that lie whole between this day and `end`; both are `end` if there are none.
    pub fn whole_months(self, end: Self) -> (Self, Self) {
        let first = if self.month() == self { self } else { self.next_month() };
        let last = end.month();
        if first < last { (first, last) } else { (end, end) }
    }

    /// The first day of its year.
    pub fn year(self) -> Self {
        Self(self.0 - i64::from(self.date().ordinal0()))
    }

    fn next_year(self) -> Self {
        self.year().plus_months(12)
    }

    fn plus_months(self, months: u32) -> Self {
        Self::from_date(self.date().checked_add_months(Months::new(months)).unwrap_or(NaiveDate::MAX))
    }

    /// The Monday of its week.
    pub fn week(self) -> Self {
        Self(self.0 - i64::from(self.date().weekday().num_days_from_monday()))
    }

    fn nearer(self, before: Self, after: Self) -> Self {
        if self.0 - before.0 <= after.0 - self.0 { before } else { after }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
    }
}

impl FromStr for Day {
    type Err = String;

    /// Parses YYYY-MM-DD.
    fn from_str(text: &str) -> Result<Self, String> {
        // chrono also accepts a sign, and fewer digits.
        let is_shaped = text.len() == 10
            && text
                .bytes()
                .enumerate()
                .all(|(n, byte)| if matches!(n, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| is_shaped && date.year() > 0);
        date.map(Self::from_date)
            .ok_or_else(|| format!("`{}` is not a day as YYYY-MM-DD", text.chars().take(20).collect::<String>()))
    }
}

/// The period that a row of the summaries covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Grain {
    /// All grains.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Year];

    /// The name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The first day of the period that a day is in.
    fn start(self, day: Day) -> Day {
        match self {
            Self::Day => day,
            Self::Month => day.month(),
            Self::Year => day.year(),
        }
    }
}

/// Rows of one grain that start from `from` on and before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The grain of the rows.
    pub grain: Grain,
    /// The start of the first row.
    pub from: Day,
    /// The end of the last row.
    pub to: Day,
    /// Whether the rows are subtracted instead of added.
    pub subtracted: bool,
}

/// The segments that add up to the days from `from` on and before `to`: the years between the nearest year starts, corrected
/// at either end by at most six months and sixteen days.
pub fn segments(from: Day, to: Day) -> Vec<Segment> {
    let month = |day: Day| day.nearer(day.month(), day.month().next_month());
    let year = |day: Day| day.nearer(day.year(), day.year().next_year());
    let (months, mut found) = ((month(from), month(to)), Vec::with_capacity(5));
    let years = (year(months.0), year(months.1));
    let mut push = |grain, from: Day, to: Day| {
        let (subtracted, from, to) = if from <= to { (false, from, to) } else { (true, to, from) };
        if from < to {
            found.push(Segment { grain, from, to, subtracted });
        }
    };
    push(Grain::Year, years.0, years.1);
    // Rows that one end adds and the other subtracts are not read.
    if years.0 == years.1 {
        push(Grain::Month, months.0, months.1);
    } else {
        push(Grain::Month, months.0, years.0);
        push(Grain::Month, years.1, months.1);
    }
    if months.0 == months.1 {
        push(Grain::Day, from, to);
    } else {
        push(Grain::Day, from, months.0);
        push(Grain::Day, months.1, to);
    }
    found
}

/// Sums of sales.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Confirmed orders; of a product, the orders that contain it.
    pub orders: i64,
    /// Pieces, without returned ones.
    pub quantity: i64,
    /// Minor units, without those of returned pieces.
    pub revenue: i64,
}

impl Sums {
    /// Adds other sums.
    pub const fn add(&mut self, other: Self) {
        self.orders += other.orders;
        self.quantity += other.quantity;
        self.revenue += other.revenue;
    }

    /// Subtracts other sums.
    pub const fn subtract(&mut self, other: Self) {
        self.orders -= other.orders;
        self.quantity -= other.quantity;
        self.revenue -= other.revenue;
    }

    /// The total of many sums.
    pub fn total<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut total = Self::default();
        for sums in all {
            total.add(*sums);
        }
        total
    }
}

/// The key of a row of the summaries: grain, first day, place, and product; the product is empty for whole orders.
pub type SummaryKey = (Grain, Day, String, String);

/// What is added to the summaries. Its order is that in which every transaction writes the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deltas(pub BTreeMap<SummaryKey, Sums>);

/// A line of a confirmed order.
#[derive(Debug, Clone)]
pub struct SoldLine<'a> {
    /// The product; `None` for an ad-hoc line.
    pub product_id: Option<&'a str>,
    /// Pieces bought.
    pub quantity: i64,
    /// Pieces returned.
    pub returned: i64,
    /// Minor units for one piece.
    pub unit_price: i64,
}

impl Deltas {
    /// Adds a confirmed order.
    pub fn add_order(&mut self, order: &Order) {
        self.add_sale(Day::of(order.placed_at), &order.place_id, order.total, sold_lines(order));
    }

    /// Subtracts an order that was added before.
    pub fn subtract_order(&mut self, order: &Order) {
        self.subtract_sale(Day::of(order.placed_at), &order.place_id, order.total, sold_lines(order));
    }

    /// Adds a confirmed order by its parts.
    pub fn add_sale<'a>(
        &mut self,
        day: Day,
        place: &PlaceId,
        total: Amount,
        lines: impl Iterator<Item = SoldLine<'a>>,
    ) {
        for (key, sums) in sale_sums(day, place, total, lines) {
            self.0.entry(key).or_default().add(sums);
        }
    }

    /// Subtracts an order by its parts.
    pub fn subtract_sale<'a>(
        &mut self,
        day: Day,
        place: &PlaceId,
        total: Amount,
        lines: impl Iterator<Item = SoldLine<'a>>,
    ) {
        for (key, sums) in sale_sums(day, place, total, lines) {
            self.0.entry(key).or_default().subtract(sums);
        }
    }

    /// The rows that change.
    pub fn changes(self) -> impl Iterator<Item = (SummaryKey, Sums)> {
        self.0.into_iter().filter(|(_, sums)| *sums != Sums::default())
    }
}

fn sold_lines(order: &Order) -> impl Iterator<Item = SoldLine<'_>> {
    order.lines.iter().map(|line| SoldLine {
        product_id: line.product_id.as_ref().map(ProductId::as_str),
        quantity: i64::from(line.quantity.get()),
        returned: i64::from(line.returned),
        unit_price: line.unit_price.minor(),
    })
}

/// The sums of one order, in each row that contains it.
fn sale_sums<'a>(
    day: Day,
    place: &PlaceId,
    total: Amount,
    lines: impl Iterator<Item = SoldLine<'a>>,
) -> Vec<(SummaryKey, Sums)> {
    let mut products: BTreeMap<&str, Sums> = BTreeMap::new();
    let (mut pieces, mut refunded) = (0, 0);
    for line in lines {
        let kept = line.quantity - line.returned;
        pieces += kept;
        refunded += line.returned * line.unit_price;
        if let Some(product) = line.product_id {
            let sums = products.entry(product).or_insert(Sums { orders: 1, ..Sums::default() });
            sums.quantity += kept;
            sums.revenue += kept * line.unit_price;
        }
    }
    // A return refunds at most what is left of the total, which a discount can make less than the price of its pieces.
    let whole = Sums { orders: 1, quantity: pieces, revenue: (total.minor() - refunded).max(0) };
    let rows = products.into_iter().chain([("", whole)]);
    rows.flat_map(|(product, sums)| {
        Grain::ALL.map(|grain| ((grain, grain.start(day), place.to_string(), product.to_owned()), sums))
    })
    .collect()
}

#[cfg(test)]
#[path = "sales_tests.rs"]
mod tests;
