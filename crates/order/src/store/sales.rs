//! The summaries of sales.
//!
//! A transaction writes them by one statement, in one order of rows, as its last. So no transaction waits for a lock while it
//! holds one of their rows, and replicas do not deadlock.

use std::collections::BTreeMap;

use commerce::{Amount, Id, PlaceId};
use db::{Result, Tx, insert, query};

use super::order_row;
use crate::domain::{Day, Deltas, Grain, Segment, SoldLine, SummaryKey, Sums};

/// The value of the column `what`: whole orders and products are read apart.
fn what(product: &str) -> &'static str {
    if product.is_empty() { "orders" } else { "products" }
}

/// Adds to the summaries. Runs no statement when nothing changes.
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

/// Whether there are confirmed orders that the summaries do not contain: those of a version without summaries.
pub(crate) async fn has_unsummed(tx: &mut Tx) -> Result<bool> {
    let found = query("select 1 as one from orders where summed = 0 and state = 'CONFIRMED' limit 1");
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// Adds at most `limit` of those; returns how many.
pub(crate) async fn sum_unsummed(tx: &mut Tx, limit: u64) -> Result<u64> {
    let text = format!(
        "select {} from orders where summed = 0 and state = 'CONFIRMED' order by number limit {limit} {{skip locked}}",
        order_row::select_list()
    );
    let found = query(text).fetch_all(tx).await?;
    let orders = order_row::read_orders(tx, &found).await?;
    if orders.is_empty() {
        return Ok(0);
    }
    let mut deltas = Deltas::default();
    for stored in &orders {
        deltas.add_order(&stored.order);
    }
    query("update orders set summed = 1 where id in {list $1}")
        .list(orders.iter().map(|stored| stored.order.id.as_str()))
        .execute(tx)
        .await?;
    add(tx, deltas).await?;
    Ok(u64::try_from(orders.len()).unwrap_or(u64::MAX))
}

/// What sums are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupBy {
    /// One sum under the empty name.
    Nothing,
    Place,
    Product,
}

/// Sums over segments of days, by the id of the group; in these places or in all.
pub(crate) async fn sums(
    tx: &mut Tx,
    by: GroupBy,
    segments: &[Segment],
    places: Option<&Vec<String>>,
) -> Result<BTreeMap<String, Sums>> {
    let (key, which) = match by {
        GroupBy::Nothing => ("''", "what = 'orders'"),
        GroupBy::Place => ("place_id", "what = 'orders'"),
        GroupBy::Product => ("product_id", "what = 'products'"),
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
            let (entry, sums) = (all.entry(row.get("name")?).or_default(), read(&row)?);
            if segment.subtracted { entry.subtract(sums) } else { entry.add(sums) }
        }
    }
    all.retain(|_, sums| *sums != Sums::default());
    Ok(all)
}

/// Sums of whole orders in each period of a grain that starts from `from` on and before `to`; all places together.
pub(crate) async fn period_totals(
    tx: &mut Tx,
    grain: Grain,
    from: Day,
    to: Day,
    places: Option<&Vec<String>>,
) -> Result<Vec<(Day, Sums)>> {
    let text = "select starts, cast(sum(orders) as bigint) as orders, cast(sum(quantity) as bigint) as quantity,
           cast(sum(revenue) as bigint) as revenue
         from sales_summary where {where} group by starts";
    let rows = period_filter(grain, from, to, places).query(text, []).fetch_all(tx).await?;
    rows.iter().map(|row| Ok((Day(row.get("starts")?), read(row)?))).collect()
}

/// Sums of whole orders in each period of a grain that starts from `from` on and before `to`, for each place.
pub(crate) async fn periods_by_place(
    tx: &mut Tx,
    grain: Grain,
    from: Day,
    to: Day,
    places: Option<&Vec<String>>,
) -> Result<Vec<(Day, String, Sums)>> {
    let text = "select starts, place_id, orders, quantity, revenue from sales_summary where {where}";
    let rows = period_filter(grain, from, to, places).query(text, []).fetch_all(tx).await?;
    rows.iter().map(|row| Ok((Day(row.get("starts")?), row.get("place_id")?, read(row)?))).collect()
}

fn period_filter(grain: Grain, from: Day, to: Day, places: Option<&Vec<String>>) -> db::Filter {
    let mut filter = db::Filter::new("what = 'orders'");
    filter.and("grain = ?", grain.as_str());
    filter.and_all("starts >= ? and starts < ?", [from.0.into(), to.0.into()]);
    if let Some(places) = places {
        filter.and("place_id in {list ?}", places);
    }
    filter
}

fn read(row: &db::Row) -> Result<Sums> {
    Ok(Sums { orders: row.get("orders")?, quantity: row.get("quantity")?, revenue: row.get("revenue")? })
}

/// What has to be added to the summaries so that they equal the summed orders, and how many rows they should have. Read in
/// one snapshot, it stays right while orders are confirmed and cancelled.
pub(crate) async fn drift(tx: &mut Tx) -> Result<(Deltas, usize)> {
    /// Order numbers read at once.
    const BATCH: i64 = 5_000;
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
        .bind(from + BATCH)
        .fetch_all(tx)
        .await?;
        let parsed = rows.iter().map(read_line).collect::<Result<Vec<LineRow>>>()?;
        for lines in parsed.chunk_by(|a, b| a.number == b.number) {
            let Some(order) = lines.first() else { continue };
            let place: PlaceId = Id::trusted(order.place_id.clone());
            let sold = lines.iter().map(|line| SoldLine {
                product_id: line.product_id.as_deref(),
                quantity: line.quantity,
                returned: line.returned,
                unit_price: line.unit_price,
            });
            drift.add_sale(order.day, &place, order.total, sold);
        }
        from += BATCH;
    }
    let expected = drift.0.len();
    for what in ["orders", "products"] {
        for grain in Grain::ALL {
            subtract_stored(tx, what, grain, &mut drift).await?;
        }
    }
    Ok((Deltas(drift.changes().collect()), expected))
}

/// Subtracts the stored summaries from `drift`.
async fn subtract_stored(tx: &mut Tx, what: &str, grain: Grain, drift: &mut Deltas) -> Result<()> {
    /// Rows read at once.
    const BATCH: usize = 10_000;
    let mut after: Option<SummaryKey> = None;
    loop {
        let mut filter = db::Filter::new("1 = 1");
        filter.and_all("what = ? and grain = ?", [what.into(), grain.as_str().into()]);
        if let Some((_, starts, place, product)) = &after {
            filter
                .and_all("(starts, place_id, product_id) > (?, ?, ?)", [starts.0.into(), place.into(), product.into()]);
        }
        let text = format!(
            "select starts, place_id, product_id, orders, quantity, revenue from sales_summary where {{where}}
             order by starts, place_id, product_id limit {BATCH}"
        );
        let rows = filter.query(&text, []).fetch_all(tx).await?;
        for row in &rows {
            let key = (grain, Day(row.get("starts")?), row.get("place_id")?, row.get("product_id")?);
            drift.0.entry(key.clone()).or_default().subtract(read(row)?);
            after = Some(key);
        }
        if rows.len() < BATCH {
            return Ok(());
        }
    }
}

/// A line of a confirmed order, with what its summary needs of the order.
struct LineRow {
    number: i64,
    place_id: String,
    day: Day,
    total: Amount,
    product_id: Option<String>,
    quantity: i64,
    returned: i64,
    unit_price: i64,
}

fn read_line(row: &db::Row) -> Result<LineRow> {
    Ok(LineRow {
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

/// How many confirmed orders the summaries do not contain.
pub(crate) async fn count_unsummed(tx: &mut Tx) -> Result<u64> {
    let row = query("select count(*) as n from orders where summed = 0 and state = 'CONFIRMED'").fetch_one(tx).await?;
    Ok(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
}
