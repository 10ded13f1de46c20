//! Reading orders.

use commerce::{OrderId, Timestamp, page::PageRequest};
use db::{Result, Tx, query};

use super::{
    StoredOrder,
    order_row::{read_orders, select_list},
};
use crate::domain::{Channel, Status};

/// Which orders a list contains; archived ones never.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderFilter {
    pub(crate) customer_id: Option<String>,
    pub(crate) status: Option<Status>,
    pub(crate) place_id: Option<String>,
    /// The places that the caller may see; `None`: all.
    pub(crate) visible_places: Option<Vec<String>>,
    pub(crate) channel: Option<Channel>,
    pub(crate) number: Option<i64>,
    /// Placed at this time or later.
    pub(crate) placed_from: Option<Timestamp>,
    /// Placed before this time.
    pub(crate) placed_to: Option<Timestamp>,
    /// Oldest first instead of newest first.
    pub(crate) ascending: bool,
}

impl OrderFilter {
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
        if let Some(places) = &self.visible_places {
            filter.and("place_id in {list ?}", places);
        }
        if let Some(channel) = self.channel {
            filter.and("channel = ?", channel.as_str());
        }
        if let Some(number) = self.number {
            filter.and("number = ?", number);
        }
        if let Some(from) = self.placed_from {
            filter.and("placed_at >= ?", from.micros());
        }
        if let Some(to) = self.placed_to {
            filter.and("placed_at < ?", to.micros());
        }
        filter
    }
}

/// A page of orders by their number.
pub(crate) async fn list(tx: &mut Tx, filter: &OrderFilter, page: &PageRequest<i64>) -> Result<Vec<StoredOrder>> {
    let mut conditions = filter.conditions();
    let (beyond, direction) = if filter.ascending { (">", "asc") } else { ("<", "desc") };
    if let Some(after) = page.after {
        conditions.and(&format!("number {beyond} ?"), after);
    }
    let text =
        format!("select {} from orders where {{where}} order by number {direction} limit ? offset ?", select_list());
    let found = conditions.query(&text, [page.fetch().into(), page.offset.into()]).fetch_all(tx).await?;
    read_orders(tx, &found).await
}

/// How many orders the filter matches.
pub(crate) async fn count(tx: &mut Tx, filter: &OrderFilter) -> Result<u64> {
    filter.conditions().count("orders", tx).await
}

/// An order by its id.
pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Option<StoredOrder>> {
    let found = query(format!("select {} from orders where id = $1", select_list())).bind(id).fetch_all(tx).await?;
    Ok(read_orders(tx, &found).await?.pop())
}

/// An order that must exist.
pub(crate) async fn get(tx: &mut Tx, id: &OrderId) -> Result<StoredOrder> {
    find(tx, id.as_str()).await?.ok_or(db::Error::Unreadable("an order that existed before"))
}

/// An order that must exist, with its row locked until the transaction ends.
pub(crate) async fn get_locked(tx: &mut Tx, id: &OrderId) -> Result<StoredOrder> {
    let text = format!("select {} from orders where id = $1 {{locked}}", select_list());
    let found = query(text).bind(id.as_str()).fetch_all(tx).await?;
    read_orders(tx, &found).await?.pop().ok_or(db::Error::Unreadable("an order that existed before"))
}

/// All orders, for the audit.
pub(crate) async fn all_orders(tx: &mut Tx) -> Result<Vec<StoredOrder>> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let found = query(format!("select {} from orders where number > $1 order by number limit 1000", select_list()))
            .bind(after)
            .fetch_all(tx)
            .await?;
        let Some(last) = found.last() else { return Ok(all) };
        after = last.get("number")?;
        all.extend(read_orders(tx, &found).await?);
    }
}

/// Of orders and of items of carts: the highest number, and the last number that was given. For the audit.
pub(crate) async fn numbers(tx: &mut Tx) -> Result<[(&'static str, i64, i64); 2]> {
    let text = "select (select coalesce(max(number), 0) from orders) as orders,
           (select coalesce(max(number), 0) from cart_items) as items,
           (select last from counters where kind = 'order') as last_order,
           (select last from counters where kind = 'cart_item') as last_item";
    let row = query(text).fetch_one(tx).await?;
    Ok([("order", row.get("orders")?, row.get("last_order")?), ("cart item", row.get("items")?, row.get("last_item")?)])
}
