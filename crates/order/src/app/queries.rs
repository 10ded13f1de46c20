//! Reads for the API.

use commerce::{CustomerId, OrderId, page::PageRequest};

use super::App;
use crate::{
    domain::{Cart, Order, Return},
    error::Error,
    store::{self, OrderFilter, carts::CartFilter},
};

/// An order by its id.
pub(crate) async fn find_order(app: &App, id: &str) -> Result<Option<Order>, Error> {
    let mut tx = app.db.snapshot().await?;
    Ok(store::find(&mut tx, id).await?.map(|stored| stored.order))
}

/// Orders in the order of their numbers, and how many the filter matches if the request wants to know.
pub(crate) async fn list_orders(
    app: &App,
    filter: &OrderFilter,
    page: &PageRequest<i64>,
) -> Result<(Vec<Order>, Option<u64>), Error> {
    let mut tx = app.db.snapshot().await?;
    let stored = store::list(&mut tx, filter, page).await?;
    let total = if page.include_total { Some(store::count(&mut tx, filter).await?) } else { None };
    Ok((stored.into_iter().map(|stored| stored.order).collect(), total))
}

/// The returns of an order, oldest first.
pub(crate) async fn list_returns(app: &App, id: &OrderId) -> Result<Vec<Return>, Error> {
    let mut tx = app.db.read().await?;
    Ok(store::returns_of(&mut tx, id).await?)
}

/// Carts, last changed first, and how many the filter matches if the request wants to know.
pub(crate) async fn list_carts(
    app: &App,
    filter: &CartFilter,
    page: &PageRequest<(i64, String)>,
) -> Result<(Vec<Cart>, Option<u64>), Error> {
    let mut tx = app.db.snapshot().await?;
    let carts = store::carts::list(&mut tx, filter, page).await?;
    let total = if page.include_total { Some(store::carts::count(&mut tx, filter).await?) } else { None };
    Ok((carts, total))
}

/// Whether a place exists and is a store.
pub(crate) async fn store_exists(app: &App, place_id: &str) -> Result<bool, Error> {
    Ok(app.clients.store_exists(place_id).await?)
}

/// Whether a customer exists.
pub(crate) async fn customer_exists(app: &App, id: &CustomerId) -> Result<bool, Error> {
    Ok(app.clients.customer_exists(id.to_string()).await?)
}
