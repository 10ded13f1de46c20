//! Reading orders and their returns.

use commerce::{OrderId, Timestamp, page::Window};
use db::{Query, Result, Row, Tx, query};

use super::{Held, rows};
use crate::domain::{Return, Status};

/// Which orders a list is to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Of this customer.
    pub(crate) customer_id: Option<String>,
    /// Standing there.
    pub(crate) status: Option<Status>,
    /// Of this place.
    pub(crate) place_id: Option<String>,
    /// Of one of these places, where the caller may see no others.
    pub(crate) places: Option<Vec<String>>,
    /// Placed then or later.
    pub(crate) from: Option<Timestamp>,
    /// Placed earlier.
    pub(crate) to: Option<Timestamp>,
    /// Oldest first instead of newest first.
    pub(crate) ascending: bool,
}

impl Filter {
    /// The condition, with parameters from `$1`, and how many there are.
    fn condition(&self) -> (String, Vec<db::Value>) {
        let mut text = String::from("archived = 0");
        let mut values: Vec<db::Value> = Vec::new();
        let mut and = |part: &str, value: db::Value| {
            values.push(value);
            text.push_str(&part.replace('?', &format!("${}", values.len())));
        };
        if let Some(customer) = &self.customer_id {
            and(" and customer_id = ?", customer.into());
        }
        if let Some(status) = self.status {
            and(" and status = ?", status.as_str().into());
        }
        if let Some(place) = &self.place_id {
            and(" and place_id = ?", place.into());
        }
        if let Some(places) = &self.places {
            and(" and place_id in {list ?}", rows::to_json(places).into());
        }
        if let Some(from) = self.from {
            and(" and placed_at >= ?", from.micros().into());
        }
        if let Some(to) = self.to {
            and(" and placed_at < ?", to.micros().into());
        }
        (text, values)
    }
}

fn bound(text: String, values: Vec<db::Value>) -> Query {
    values.into_iter().fold(query(text), Query::bind)
}

/// Orders by their number, past the window's `after`.
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, window: &Window<i64>) -> Result<Vec<Held>> {
    let (mut condition, mut values) = filter.condition();
    let (beyond, direction) = if filter.ascending { (">", "asc") } else { ("<", "desc") };
    if let Some(after) = window.after {
        values.push(after.into());
        condition.push_str(&format!(" and number {beyond} ${}", values.len()));
    }
    values.push(window.fetch().into());
    let limit = values.len();
    values.push(window.offset.into());
    let text = format!(
        "select {} from orders where {condition} order by number {direction} limit ${limit} offset ${}",
        rows::COLUMNS,
        values.len()
    );
    let found = bound(text, values).fetch_all(tx).await?;
    rows::with_lines(tx, &found).await
}

/// How many orders the filter leaves.
pub(crate) async fn count(tx: &mut Tx, filter: &Filter) -> Result<u64> {
    let (condition, values) = filter.condition();
    let row = bound(format!("select count(*) as n from orders where {condition}"), values).fetch_one(tx).await?;
    Ok(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
}

/// An order by its id.
pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Option<Held>> {
    let found = query(format!("select {} from orders where id = $1", rows::COLUMNS)).bind(id).fetch_all(tx).await?;
    Ok(rows::with_lines(tx, &found).await?.pop())
}

/// An order that must be there.
pub(crate) async fn get(tx: &mut Tx, id: &OrderId) -> Result<Held> {
    find(tx, id.as_str()).await?.ok_or(db::Error::Unreadable("an order that was there is gone"))
}

/// Hides an order; the accounts keep it.
pub(crate) async fn archive(tx: &mut Tx, id: &OrderId) -> Result<()> {
    query("update orders set archived = 1 where id = $1").bind(id.as_str()).execute(tx).await?;
    Ok(())
}

/// The returns of an order, oldest first.
pub(crate) async fn returns_of(tx: &mut Tx, id: &OrderId) -> Result<Vec<Return>> {
    query("select body from returns where order_id = $1 order by created_at, id")
        .bind(id.as_str())
        .fetch_all(tx)
        .await?
        .iter()
        .map(parse_return)
        .collect()
}

pub(super) fn parse_return(row: &Row) -> Result<Return> {
    serde_json::from_str(&row.get::<String>("body")?).map_err(|_| db::Error::Unreadable("returns.body"))
}

/// Every return, for an auditor.
pub(crate) async fn all_returns(tx: &mut Tx) -> Result<Vec<Return>> {
    query("select body from returns").fetch_all(tx).await?.iter().map(parse_return).collect()
}

/// Every order, for an auditor.
pub(crate) async fn everything(tx: &mut Tx) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let found = query(format!("select {} from orders where number > $1 order by number limit 1000", rows::COLUMNS))
            .bind(after)
            .fetch_all(tx)
            .await?;
        let Some(last) = found.last() else { return Ok(all) };
        after = last.get("number")?;
        all.extend(rows::with_lines(tx, &found).await?);
    }
}
