//! The summaries of sales. Whoever changes them does it by one statement, in one order of rows, as the last of his
//! transaction: so nobody who holds a row of them waits for anything else, and replicas do not meet in a deadlock.

use std::collections::BTreeMap;

use commerce::{Amount, Id, PlaceId};
use db::{Result, Tx, insert, query};

use super::rows;
use crate::domain::{Day, Deltas, Grain, Segment, SoldLine, SummaryRow, Sums};

/// Which rows are read alone.
fn what(product: &str) -> &'static str {
    if product.is_empty() { "orders" } else { "products" }
}

/// Adds to the summaries; without anything to add it costs nothing.
pub(crate) async fn add(tx: &mut Tx, deltas: Deltas) -> Result<()> {
    const COLUMNS: &[&str] = &["what", "grain", "starts", "place_id", "product_id", "orders", "quantity", "revenue"];
    let rows = deltas.changes().map(|((grain, starts, place, product), sums)| {
        vec![
            what(&product).into(),
            grain.as_str().into(),
            starts.0.into(),
            place.into(),
            product.into(),
            sums.orders.into(),
            sums.quantity.into(),
            sums.revenue.into(),
        ]
    });
    insert("sales_summary", COLUMNS, rows)
        .suffix(
            "on conflict (what, grain, starts, place_id, product_id) do update set
               orders = sales_summary.orders + excluded.orders, quantity = sales_summary.quantity + excluded.quantity,
               revenue = sales_summary.revenue + excluded.revenue",
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether there are confirmed orders that the summaries do not hold: from before there were any.
pub(crate) async fn is_behind(tx: &mut Tx) -> Result<bool> {
    let found = query("select 1 as one from orders where summed = 0 and state = 'CONFIRMED' limit 1");
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// Adds some of those; tells how many.
pub(crate) async fn catch_up(tx: &mut Tx, limit: u64) -> Result<u64> {
    let text = format!(
        "select {} from orders where summed = 0 and state = 'CONFIRMED' order by number limit {limit} {{skip locked}}",
        rows::COLUMNS
    );
    let found = query(text).fetch_all(tx).await?;
    let held = rows::with_lines(tx, &found).await?;
    if held.is_empty() {
        return Ok(0);
    }
    let mut deltas = Deltas::default();
    for held in &held {
        deltas.order(&held.order, false);
    }
    query("update orders set summed = 1 where id in {list $1}")
        .list(held.iter().map(|held| held.order.id.as_str()))
        .execute(tx)
        .await?;
    add(tx, deltas).await?;
    Ok(u64::try_from(held.len()).unwrap_or(u64::MAX))
}

/// What sums are asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Nothing: one sum.
    All,
    /// Places.
    Place,
    /// Products.
    Product,
}

/// Sums over segments of days, in these places or in all.
pub(crate) async fn sums(
    tx: &mut Tx,
    by: By,
    segments: &[Segment],
    places: Option<&Vec<String>>,
) -> Result<BTreeMap<String, Sums>> {
    let (key, which) = match by {
        By::All => ("''", "what = 'orders'"),
        By::Place => ("place_id", "what = 'orders'"),
        By::Product => ("product_id", "what = 'products'"),
    };
    let mut all: BTreeMap<String, Sums> = BTreeMap::new();
    for segment in segments {
        let mut filter = db::Filter::new(which);
        filter.and("grain = ?", segment.grain.as_str());
        filter.and_all("starts >= ? and starts < ?", [segment.from.0.into(), segment.to.0.into()]);
        if let Some(places) = places {
            filter.and("place_id in {list ?}", places);
        }
        let text = format!(
            "select {key} as name, cast(sum(orders) as bigint) as orders, cast(sum(quantity) as bigint) as quantity,
               cast(sum(revenue) as bigint) as revenue
             from sales_summary where {{where}} group by 1"
        );
        for row in filter.query(&text, []).fetch_all(tx).await? {
            let entry = all.entry(row.get("name")?).or_default();
            *entry = entry.plus(read(&row)?, segment.minus);
        }
    }
    all.retain(|_, sums| *sums != Sums::default());
    Ok(all)
}

/// Sums of whole orders by the rows of one grain that start from `from` on and before `to`, each of a place, or of all
/// places together.
pub(crate) async fn periods(
    tx: &mut Tx,
    grain: Grain,
    (from, to): (Day, Day),
    by_place: bool,
    places: Option<&Vec<String>>,
) -> Result<Vec<(Day, String, Sums)>> {
    let mut filter = db::Filter::new("what = 'orders'");
    filter.and("grain = ?", grain.as_str());
    filter.and_all("starts >= ? and starts < ?", [from.0.into(), to.0.into()]);
    if let Some(places) = places {
        filter.and("place_id in {list ?}", places);
    }
    let text = if by_place {
        "select starts, place_id, orders, quantity, revenue from sales_summary where {where}"
    } else {
        "select starts, '' as place_id, cast(sum(orders) as bigint) as orders, cast(sum(quantity) as bigint) as quantity,
           cast(sum(revenue) as bigint) as revenue
         from sales_summary where {where} group by starts"
    };
    let rows = filter.query(text, []).fetch_all(tx).await?;
    rows.iter().map(|row| Ok((Day(row.get("starts")?), row.get("place_id")?, read(row)?))).collect()
}

fn read(row: &db::Row) -> Result<Sums> {
    Ok(Sums { orders: row.get("orders")?, quantity: row.get("quantity")?, revenue: row.get("revenue")? })
}

/// What is to be added to the summaries for them to be what the summed orders say; nothing, if all is well. Read in one
/// snapshot, it is right whatever is sold meanwhile. Tells how many rows there should be, too.
pub(crate) async fn drift(tx: &mut Tx) -> Result<(Deltas, usize)> {
    /// Numbers of orders read at once.
    const PAGE: i64 = 5_000;
    let mut drift = Deltas::default();
    let last = query("select coalesce(max(number), 0) as last from orders").fetch_one(tx).await?.get::<i64>("last")?;
    let mut from = 0;
    while from < last {
        let rows = query(
            "select o.number, o.place_id, o.placed_at, o.total, l.product_id, l.quantity, l.returned, l.unit_price
             from orders o join order_lines l on l.order_id = o.id
             where o.number > $1 and o.number <= $2 and o.state = 'CONFIRMED' and o.summed = 1 order by o.number",
        )
        .bind(from)
        .bind(from + PAGE)
        .fetch_all(tx)
        .await?;
        let parsed = rows.iter().map(parse).collect::<Result<Vec<Line>>>()?;
        for lines in parsed.chunk_by(|a, b| a.number == b.number) {
            let Some(order) = lines.first() else { continue };
            let place: PlaceId = Id::trusted(order.place_id.clone());
            let sold = lines.iter().map(|line| SoldLine {
                product_id: line.product_id.as_deref(),
                quantity: line.quantity,
                returned: line.returned,
                unit_price: line.unit_price,
            });
            drift.sold(order.day, &place, order.total, sold, false);
        }
        from += PAGE;
    }
    let expected = drift.0.len();
    for what in ["orders", "products"] {
        for grain in Grain::ALL {
            take_off(tx, what, grain, &mut drift).await?;
        }
    }
    Ok((Deltas(drift.changes().collect()), expected))
}

/// Takes what the summaries hold off what they should.
async fn take_off(tx: &mut Tx, what: &str, grain: Grain, drift: &mut Deltas) -> Result<()> {
    /// Rows read at once.
    const PAGE: usize = 10_000;
    let mut after: Option<SummaryRow> = None;
    loop {
        let mut filter = db::Filter::new("1 = 1");
        filter.and_all("what = ? and grain = ?", [what.into(), grain.as_str().into()]);
        if let Some((_, starts, place, product)) = &after {
            filter
                .and_all("(starts, place_id, product_id) > (?, ?, ?)", [starts.0.into(), place.into(), product.into()]);
        }
        let text = format!(
            "select starts, place_id, product_id, orders, quantity, revenue from sales_summary where {{where}}
             order by starts, place_id, product_id limit {PAGE}"
        );
        let rows = filter.query(&text, []).fetch_all(tx).await?;
        for row in &rows {
            let name = (grain, Day(row.get("starts")?), row.get("place_id")?, row.get("product_id")?);
            let entry = drift.0.entry(name.clone()).or_default();
            *entry = entry.plus(read(row)?, true);
            after = Some(name);
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

struct Line {
    number: i64,
    place_id: String,
    day: Day,
    total: Amount,
    product_id: Option<String>,
    quantity: i64,
    returned: i64,
    unit_price: i64,
}

fn parse(row: &db::Row) -> Result<Line> {
    Ok(Line {
        number: row.get("number")?,
        place_id: row.get("place_id")?,
        day: Day::of(commerce::Timestamp::from_micros(row.get("placed_at")?)),
        total: Amount::from_minor(row.get("total")?),
        product_id: row.get("product_id")?,
        quantity: row.get("quantity")?,
        returned: row.get("returned")?,
        unit_price: row.get("unit_price")?,
    })
}

/// How many confirmed orders the summaries do not hold.
pub(crate) async fn behind(tx: &mut Tx) -> Result<u64> {
    let row = query("select count(*) as n from orders where summed = 0 and state = 'CONFIRMED'").fetch_one(tx).await?;
    Ok(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
}
