//! What was sold, by day, month and year: what each order adds, and which rows a range of days is made of.

use std::{collections::BTreeMap, fmt, str::FromStr};

use commerce::{Amount, PlaceId, ProductId, Timestamp};

use super::Order;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time.
    pub const fn of(time: Timestamp) -> Self {
        Self(time.micros().div_euclid(DAY))
    }

    /// The next one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Year, month and day of the month (<https://howardhinnant.github.io/date_algorithms.html>).
    const fn civil(self) -> (i64, i64, i64) {
        let z = self.0 + 719_468;
        let era = z.div_euclid(146_097);
        let of_era = z.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        (year, month, day)
    }

    const fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        Self(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    /// The first day of its month.
    pub const fn month(self) -> Self {
        let (year, month, _) = self.civil();
        Self::from_civil(year, month, 1)
    }

    const fn next_month(self) -> Self {
        let (year, month, _) = self.civil();
        if month == 12 { Self::from_civil(year + 1, 1, 1) } else { Self::from_civil(year, month + 1, 1) }
    }

    /// The first of the months that lie whole between this day and `end`, and where they end; nothing lies between where
    /// there are none.
    pub fn whole_months(self, end: Self) -> (Self, Self) {
        let first = if self.month() == self { self } else { self.next_month() };
        let last = end.month();
        if first < last { (first, last) } else { (end, end) }
    }

    /// The first day of its year.
    pub const fn year(self) -> Self {
        Self::from_civil(self.civil().0, 1, 1)
    }

    const fn next_year(self) -> Self {
        Self::from_civil(self.civil().0 + 1, 1, 1)
    }

    /// The Monday of its week.
    pub const fn week(self) -> Self {
        // 1970-01-01 was a Thursday.
        Self(self.0 - (self.0 + 3).rem_euclid(7))
    }

    fn nearer(self, before: Self, after: Self) -> Self {
        if self.0 - before.0 <= after.0 - self.0 { before } else { after }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || format!("`{}` is no day: YYYY-MM-DD", text.chars().take(20).collect::<String>());
        let mut parts = text.split('-');
        let mut part = |digits: usize| -> Option<i64> {
            let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
            part.parse().ok()
        };
        let (year, month, day) = (part(4), part(2), part(2));
        let (Some(year), Some(month), Some(day), None) = (year, month, day, parts.next()) else { return Err(shown()) };
        if year < 1 || !(1..=12).contains(&month) {
            return Err(shown());
        }
        let found = Self::from_civil(year, month, day);
        // A day that its month does not have is another's.
        if found.civil() == (year, month, day) { Ok(found) } else { Err(shown()) }
    }
}

/// What a row of the summary covers.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Year];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The first day of the row that a day is in.
    const fn start(self, day: Day) -> Day {
        match self {
            Self::Day => day,
            Self::Month => day.month(),
            Self::Year => day.year(),
        }
    }
}

/// Rows of one grain that start from `from` on and before `to`, to be added, or taken off again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which rows.
    pub grain: Grain,
    /// The first of them.
    pub from: Day,
    /// Where they end.
    pub to: Day,
    /// Whether they are taken off.
    pub minus: bool,
}

/// What the days from `from` on and before `to` are made of: years to the nearest ends, set right by at most six months and
/// sixteen days at either end.
pub fn segments(from: Day, to: Day) -> Vec<Segment> {
    let month = |day: Day| day.nearer(day.month(), day.month().next_month());
    let year = |day: Day| day.nearer(day.year(), day.year().next_year());
    let (months, mut found) = ((month(from), month(to)), Vec::with_capacity(5));
    let years = (year(months.0), year(months.1));
    let mut signed = |grain, from: Day, to: Day| {
        let (minus, from, to) = if from <= to { (false, from, to) } else { (true, to, from) };
        if from < to {
            found.push(Segment { grain, from, to, minus });
        }
    };
    signed(Grain::Year, years.0, years.1);
    // Of what one end adds and the other takes off nothing need be read.
    if years.0 == years.1 {
        signed(Grain::Month, months.0, months.1);
    } else {
        signed(Grain::Month, months.0, years.0);
        signed(Grain::Month, years.1, months.1);
    }
    if months.0 == months.1 {
        signed(Grain::Day, from, to);
    } else {
        signed(Grain::Day, from, months.0);
        signed(Grain::Day, months.1, to);
    }
    found
}

/// What was sold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Confirmed orders; of a product, those that hold it.
    pub orders: i64,
    /// Pieces, less those that came back.
    pub quantity: i64,
    /// Minor units, less those of what came back.
    pub revenue: i64,
}

impl Sums {
    /// Both together, or the first without the second.
    pub const fn plus(self, other: Self, minus: bool) -> Self {
        let sign = if minus { -1 } else { 1 };
        Self {
            orders: self.orders + sign * other.orders,
            quantity: self.quantity + sign * other.quantity,
            revenue: self.revenue + sign * other.revenue,
        }
    }
}

/// A row of the summary: grain, first day, place, and product or nothing for whole orders.
pub type Row = (Grain, Day, String, String);

/// What is to be added to the summary, in the order in which everybody adds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deltas(pub BTreeMap<Row, Sums>);

/// A line as the summary counts it.
#[derive(Debug, Clone)]
pub struct SoldLine<'a> {
    /// Its product, if it is of the catalogue.
    pub product_id: Option<&'a str>,
    /// Pieces bought.
    pub quantity: i64,
    /// Pieces that came back.
    pub returned: i64,
    /// Minor units a piece.
    pub unit_price: i64,
}

impl Deltas {
    /// Adds a confirmed order, or takes it off again.
    pub fn order(&mut self, order: &Order, minus: bool) {
        let lines = order.lines.iter().map(|line| SoldLine {
            product_id: line.product_id.as_ref().map(ProductId::as_str),
            quantity: i64::from(line.quantity.get()),
            returned: i64::from(line.returned),
            unit_price: line.unit_price.minor(),
        });
        self.sold(Day::of(order.placed_at), &order.place_id, order.total, lines, minus);
    }

    /// The same, told in parts.
    pub fn sold<'a>(
        &mut self,
        day: Day,
        place: &PlaceId,
        total: Amount,
        lines: impl Iterator<Item = SoldLine<'a>>,
        minus: bool,
    ) {
        let mut products: BTreeMap<&str, Sums> = BTreeMap::new();
        let (mut pieces, mut back) = (0, 0);
        for line in lines {
            let kept = line.quantity - line.returned;
            pieces += kept;
            back += line.returned * line.unit_price;
            if let Some(product) = line.product_id {
                let sums = products.entry(product).or_insert(Sums { orders: 1, ..Sums::default() });
                sums.quantity += kept;
                sums.revenue += kept * line.unit_price;
            }
        }
        // A return gives back at most what is left of the total, as with a discount.
        let whole = Sums { orders: 1, quantity: pieces, revenue: (total.minor() - back).max(0) };
        for (product, sums) in products.into_iter().chain([("", whole)]) {
            for grain in Grain::ALL {
                let row = (grain, grain.start(day), place.to_string(), product.to_owned());
                let entry = self.0.entry(row).or_default();
                *entry = entry.plus(sums, minus);
            }
        }
    }

    /// Those that change something.
    pub fn changes(self) -> impl Iterator<Item = (Row, Sums)> {
        self.0.into_iter().filter(|(_, sums)| *sums != Sums::default())
    }
}

#[cfg(test)]
#[path = "sales_tests.rs"]
mod tests;
