//! Pages of levels and of the ledger, and the totals that the audit compares.

use commerce::{Timestamp, page::PageRequest};
use db::{Row, Tx};

use super::unit_of_work;
use crate::{
    domain::{Level, StockKey},
    error::Error,
};

/// The filter of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct StockFilter {
    /// Any of these products; none: all.
    pub(crate) products: Option<Vec<String>>,
    /// Any of these places; none: all.
    pub(crate) places: Option<Vec<String>>,
    /// Levels only: at least this quantity is available.
    pub(crate) min_available: Option<i64>,
    /// Levels only: at most this quantity is available.
    pub(crate) max_available: Option<i64>,
}

impl StockFilter {
    fn conditions(&self) -> db::Filter {
        let mut filter = db::Filter::new("1 = 1");
        if let Some(products) = &self.products {
            filter.and("product_id in {list ?}", products);
        }
        if let Some(places) = &self.places {
            filter.and("place_id in {list ?}", places);
        }
        if let Some(least) = self.min_available {
            filter.and("on_hand - reserved >= ?", least);
        }
        if let Some(most) = self.max_available {
            filter.and("on_hand - reserved <= ?", most);
        }
        filter
    }
}

/// A stored entry of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct LedgerEntry {
    pub(crate) id: String,
    pub(crate) key: StockKey,
    pub(crate) kind: String,
    pub(crate) quantity: i64,
    pub(crate) balance: i64,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) at: Timestamp,
}

/// A level with the sums of its ledger entries, by kind.
#[derive(Debug, Clone)]
pub(crate) struct LevelTotals {
    pub(crate) key: StockKey,
    pub(crate) level: Level,
    pub(crate) adjusted: i64,
    pub(crate) sold: i64,
    pub(crate) restocked: i64,
    pub(crate) sent: i64,
    pub(crate) received: i64,
}

/// A page of levels, by product and place.
pub(crate) async fn levels(
    tx: &mut Tx,
    filter: &StockFilter,
    paging: &PageRequest<(String, String)>,
) -> Result<Vec<(StockKey, Level)>, Error> {
    let mut conditions = filter.conditions();
    if let Some((product, place)) = &paging.after {
        conditions.and_all("(product_id, place_id) > (?, ?)", [product.into(), place.into()]);
    }
    let text = format!(
        "select {} from levels where {{where}} order by product_id, place_id limit ? offset ?",
        unit_of_work::LEVEL
    );
    let rows = conditions.query(&text, [paging.fetch().into(), paging.offset.into()]).fetch_all(tx).await?;
    rows.iter().map(unit_of_work::level).collect()
}

/// The number of levels that match.
pub(crate) async fn count_levels(tx: &mut Tx, filter: &StockFilter) -> Result<u64, Error> {
    Ok(filter.conditions().count("levels", tx).await?)
}

/// A page of the ledger, newest first.
pub(crate) async fn ledger(
    tx: &mut Tx,
    filter: &StockFilter,
    paging: &PageRequest<String>,
) -> Result<Vec<LedgerEntry>, Error> {
    let mut conditions = filter.conditions();
    if let Some(before) = &paging.after {
        conditions.and("id < ?", before);
    }
    let text = "select id, product_id, place_id, kind, quantity, balance, cause, reason, actor, at from ledger
        where {where} order by id desc limit ? offset ?";
    let rows = conditions.query(text, [paging.fetch().into(), paging.offset.into()]).fetch_all(tx).await?;
    rows.iter().map(entry).collect()
}

/// The number of ledger entries that match.
pub(crate) async fn count_ledger(tx: &mut Tx, filter: &StockFilter) -> Result<u64, Error> {
    Ok(filter.conditions().count("ledger", tx).await?)
}

/// All levels with their totals, for the audit.
pub(crate) async fn level_totals(tx: &mut Tx) -> Result<Vec<LevelTotals>, Error> {
    let rows = db::query(
        "select l.product_id, l.place_id, l.on_hand, l.reserved, l.threshold, l.sequence,
           coalesce(m.adjusted, 0) as adjusted, coalesce(m.sold, 0) as sold,
           coalesce(m.restocked, 0) as restocked, coalesce(m.sent, 0) as sent,
           coalesce(m.received, 0) as received
         from levels l left join (
           select product_id, place_id,
             cast(sum(case when kind = 'adjusted' then quantity else 0 end) as bigint) as adjusted,
             cast(sum(case when kind = 'sold' then quantity else 0 end) as bigint) as sold,
             cast(sum(case when kind = 'restocked' then quantity else 0 end) as bigint) as restocked,
             cast(sum(case when kind = 'sent' then quantity else 0 end) as bigint) as sent,
             cast(sum(case when kind = 'received' then quantity else 0 end) as bigint) as received
           from ledger group by product_id, place_id
         ) m on m.product_id = l.product_id and m.place_id = l.place_id
         order by l.product_id, l.place_id",
    )
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let (key, level) = unit_of_work::level(row)?;
            Ok(LevelTotals {
                key,
                level,
                adjusted: row.get("adjusted")?,
                sold: -row.get::<i64>("sold")?,
                restocked: row.get("restocked")?,
                sent: -row.get::<i64>("sent")?,
                received: row.get("received")?,
            })
        })
        .collect()
}

/// All adjustments by their ids, for the audit.
pub(crate) async fn adjustments(tx: &mut Tx) -> Result<Vec<(String, i64)>, Error> {
    let rows = db::query("select id, delta from adjustments").fetch_all(tx).await?;
    rows.iter().map(|row| Ok((row.get("id")?, row.get("delta")?))).collect()
}

/// Of places and replenishments: the highest number, and the last number that was given. For the audit.
pub(crate) async fn numbers(tx: &mut Tx) -> Result<[(&'static str, i64, i64); 2], Error> {
    let text = "select (select coalesce(max(number), 0) from places) as places,
           (select coalesce(max(number), 0) from replenishments) as replenishments,
           (select value from counters where name = 'place') as last_place,
           (select value from counters where name = 'replenishment') as last_replenishment";
    let row = db::query(text).fetch_one(tx).await?;
    let number = |name: &str| row.get::<i64>(name);
    Ok([
        ("place", number("places")?, number("last_place")?),
        ("replenishment", number("replenishments")?, number("last_replenishment")?),
    ])
}

fn entry(row: &Row) -> Result<LedgerEntry, Error> {
    Ok(LedgerEntry {
        id: row.get("id")?,
        key: unit_of_work::key(row)?,
        kind: row.get("kind")?,
        quantity: row.get("quantity")?,
        balance: row.get("balance")?,
        cause: row.get("cause")?,
        reason: row.get("reason")?,
        actor: row.get("actor")?,
        at: Timestamp::from_micros(row.get("at")?),
    })
}

/// The movements of stock that an order caused, for people.
pub(crate) async fn movements_of(tx: &mut Tx, order_id: &str) -> Result<Vec<(Timestamp, String)>, Error> {
    let rows = db::query(
        "select kind, quantity, product_id, place_id, balance, actor, at from ledger where cause = $1 order by id",
    );
    let rows = rows.bind(order_id).fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let (kind, product, place): (String, String, String) =
                (row.get("kind")?, row.get("product_id")?, row.get("place_id")?);
            let (quantity, left): (i64, i64) = (row.get("quantity")?, row.get("balance")?);
            let text = format!("{kind} {quantity} of {product} at {place}, {left} left there");
            Ok((Timestamp::from_micros(row.get("at")?), text))
        })
        .collect()
}
