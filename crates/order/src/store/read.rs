//! Reading orders and their returns.

use commerce::{OrderId, Timestamp, page::PageRequest};
use db::{Result, Row, Tx, query};

use super::{Held, rows};
use crate::domain::{Channel, Return, Status};

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
    /// Taken there.
    pub(crate) channel: Option<Channel>,
    /// The one of this number.
    pub(crate) number: Option<i64>,
    /// Placed then or later.
    pub(crate) from: Option<Timestamp>,
    /// Placed earlier.
    pub(crate) to: Option<Timestamp>,
    /// Oldest first instead of newest first.
    pub(crate) ascending: bool,
}

impl Filter {
    fn conditions(&self) -> db::Filter {
        let mut filter = db::Filter::new("archived = 0");
        if let Some(customer) = &self.customer_id {
            filter.and("customer_id = ?", customer);
        }
        if let Some(status) = self.status {
            filter.and("status = ?", status.as_str());
        }
        if let Some(place) = &self.place_id {
            filter.and("place_id = ?", place);
        }
        if let Some(places) = &self.places {
            filter.and("place_id in {list ?}", places);
        }
        if let Some(channel) = self.channel {
            filter.and("channel = ?", channel.as_str());
        }
        if let Some(number) = self.number {
            filter.and("number = ?", number);
        }
        if let Some(from) = self.from {
            filter.and("placed_at >= ?", from.micros());
        }
        if let Some(to) = self.to {
            filter.and("placed_at < ?", to.micros());
        }
        filter
    }
}

/// Orders by their number, past the window's `after`.
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, window: &PageRequest<i64>) -> Result<Vec<Held>> {
    let mut conditions = filter.conditions();
    let (beyond, direction) = if filter.ascending { (">", "asc") } else { ("<", "desc") };
    if let Some(after) = window.after {
        conditions.and(&format!("number {beyond} ?"), after);
    }
    let text =
        format!("select {} from orders where {{where}} order by number {direction} limit ? offset ?", rows::COLUMNS);
    let found = conditions.query(&text, [window.fetch().into(), window.offset.into()]).fetch_all(tx).await?;
    rows::with_lines(tx, &found).await
}

/// How many orders the filter leaves.
pub(crate) async fn count(tx: &mut Tx, filter: &Filter) -> Result<u64> {
    filter.conditions().count("orders", tx).await
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

/// An order that must be there, which nobody else changes until the transaction ends.
pub(crate) async fn get_locked(tx: &mut Tx, id: &OrderId) -> Result<Held> {
    let text = format!("select {} from orders where id = $1 {{locked}}", rows::COLUMNS);
    let found = query(text).bind(id.as_str()).fetch_all(tx).await?;
    rows::with_lines(tx, &found).await?.pop().ok_or(db::Error::Unreadable("an order that was there is gone"))
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
