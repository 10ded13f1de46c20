//! Lists of levels and of the ledger, page by page, and the sums that the audit asks for.

use commerce::{Timestamp, page::Window};
use db::{Query, Row, Tx};

use super::books;
use crate::{
    domain::{Level, Slot},
    error::Error,
};

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) product_id: Option<String>,
    /// One of these places; any where none is named.
    pub(crate) places: Option<Vec<String>>,
}

/// A line of the ledger as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) slot: Slot,
    pub(crate) kind: String,
    pub(crate) quantity: i64,
    pub(crate) balance: i64,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) at: Timestamp,
}

/// What the audit wants to know of a level.
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) slot: Slot,
    pub(crate) level: Level,
    pub(crate) adjusted: i64,
    pub(crate) sold: i64,
    pub(crate) restocked: i64,
}

/// A page of levels, by product and place.
pub(crate) async fn levels(
    tx: &mut Tx,
    filter: &Filter,
    window: &Window<(String, String)>,
) -> Result<Vec<(Slot, Level)>, Error> {
    let (after_product, after_place) = window.after.clone().unwrap_or_default();
    let text = format!(
        "select * from levels where (product_id > $1 or (product_id = $1 and place_id > $2)) {}
         order by product_id, place_id limit $3 offset $4",
        narrowed(filter, 5)
    );
    let query = db::query(text).bind(after_product).bind(after_place).bind(window.fetch()).bind(window.offset);
    let rows = bound(query, filter).fetch_all(tx).await?;
    rows.iter().map(books::level).collect()
}

/// How many levels the filter leaves.
pub(crate) async fn count_levels(tx: &mut Tx, filter: &Filter) -> Result<i64, Error> {
    let query = db::query(format!("select count(*) as n from levels where 1 = 1 {}", narrowed(filter, 1)));
    Ok(bound(query, filter).fetch_one(tx).await?.get("n")?)
}

/// A page of the ledger, newest first.
pub(crate) async fn ledger(tx: &mut Tx, filter: &Filter, window: &Window<String>) -> Result<Vec<Entry>, Error> {
    // `~` sorts after every id.
    let text =
        format!("select * from ledger where id < $1 {} order by id desc limit $2 offset $3", narrowed(filter, 4));
    let before = window.after.clone().unwrap_or_else(|| "~".into());
    let query = db::query(text).bind(before).bind(window.fetch()).bind(window.offset);
    let rows = bound(query, filter).fetch_all(tx).await?;
    rows.iter().map(entry).collect()
}

/// How many lines of the ledger the filter leaves.
pub(crate) async fn count_ledger(tx: &mut Tx, filter: &Filter) -> Result<i64, Error> {
    let query = db::query(format!("select count(*) as n from ledger where 1 = 1 {}", narrowed(filter, 1)));
    Ok(bound(query, filter).fetch_one(tx).await?.get("n")?)
}

/// All levels with what the ledger says moved, for the audit.
pub(crate) async fn sums(tx: &mut Tx) -> Result<Vec<Sums>, Error> {
    let rows = db::query(
        "select l.product_id, l.place_id, l.on_hand, l.reserved, l.threshold, l.sequence,
           coalesce(m.adjusted, 0) as adjusted, coalesce(m.sold, 0) as sold,
           coalesce(m.restocked, 0) as restocked
         from levels l left join (
           select product_id, place_id,
             cast(sum(case when kind = 'adjusted' then quantity else 0 end) as bigint) as adjusted,
             cast(sum(case when kind = 'sold' then quantity else 0 end) as bigint) as sold,
             cast(sum(case when kind = 'restocked' then quantity else 0 end) as bigint) as restocked
           from ledger group by product_id, place_id
         ) m on m.product_id = l.product_id and m.place_id = l.place_id
         order by l.product_id, l.place_id",
    )
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let (slot, level) = books::level(row)?;
            Ok(Sums {
                slot,
                level,
                adjusted: row.get("adjusted")?,
                sold: -row.get::<i64>("sold")?,
                restocked: row.get("restocked")?,
            })
        })
        .collect()
}

fn narrowed(filter: &Filter, first: usize) -> String {
    let mut text = String::new();
    let mut next = first;
    if filter.product_id.is_some() {
        text.push_str(&format!(" and product_id = ${next}"));
        next += 1;
    }
    if filter.places.is_some() {
        text.push_str(&format!(" and place_id in {{list ${next}}}"));
    }
    text
}

fn bound(mut query: Query, filter: &Filter) -> Query {
    if let Some(product_id) = &filter.product_id {
        query = query.bind(product_id);
    }
    if let Some(places) = &filter.places {
        query = query.list(places);
    }
    query
}

fn entry(row: &Row) -> Result<Entry, Error> {
    Ok(Entry {
        id: row.get("id")?,
        slot: books::slot(row)?,
        kind: row.get("kind")?,
        quantity: row.get("quantity")?,
        balance: row.get("balance")?,
        cause: row.get("cause")?,
        reason: row.get("reason")?,
        actor: row.get("actor")?,
        at: Timestamp::from_micros(row.get("at")?),
    })
}
