//! What the order service asks of its database.
//!
//! Functions take the transaction, so that a write and the events that tell of it are one unit. Those
//! of the checkout take many orders at once: whoever commits for one commits for all who wait.

pub(crate) mod carts;
mod place;
mod read;
mod rows;
pub(crate) mod sales;
mod settle;
mod work;

use commerce::{OrderId, Timestamp};
use db::Migration;

use crate::domain::{Order, Work};

pub(crate) use place::{Key, Placed, Placement, find_key, insert_done, place, put_answered, put_key};
pub(crate) use read::{Filter, all_returns, archive, count, everything, find, get, get_locked, list, returns_of};
pub(crate) use rows::line_id;
pub(crate) use settle::{Answer, Change, Settlement, amend, change, note_payment, put_answer, settle};
pub(crate) use work::{
    expired, find_return, insert_return, open_since, refunded, release_leases, renew, set_refund, take_over,
};

/// The tables of this service, beside those of the bus.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 100, name: "orders", sql: include_str!("../../migrations/0001_orders.sql") },
    Migration { version: 101, name: "history", sql: include_str!("../../migrations/0002_history.sql") },
    Migration { version: 102, name: "carts", sql: include_str!("../../migrations/0003_carts.sql") },
    Migration { version: 103, name: "channel", sql: include_str!("../../migrations/0004_channel.sql") },
    Migration { version: 104, name: "sales", sql: include_str!("../../migrations/0005_sales.sql") },
    Migration { version: 105, name: "metadata", sql: include_str!("../../migrations/0006_metadata.sql") },
];

/// What is forgotten in time. A saga lives in its order, which the accounts keep.
pub(crate) fn prunes(config: &crate::Config) -> Vec<upkeep::Prune> {
    vec![
        bus::outbox::prune(upkeep::days(config.outbox_days)),
        bus::inbox::prune(upkeep::days(config.inbox_days)),
        upkeep::Prune {
            table: "idempotency",
            key: "subject, route, key",
            // A request that is still being answered is not forgotten, however long it takes.
            old: "created_at < $1 and status is not null",
            keep: upkeep::hours(config.idempotency_hours),
        },
        upkeep::Prune {
            table: "carts",
            key: "id",
            // A customer's cart is his; its items go with a guest's.
            old: "customer_id is null and checking_out = 0 and updated_at < $1",
            keep: upkeep::days(config.guest_cart_days),
        },
        // A replica that died leaves the lease by which it told that it was there.
        upkeep::Prune { table: "leases", key: "name", old: "until < $1", keep: upkeep::days(1) },
    ]
}

/// The routes whose requests are remembered by their Idempotency-Key.
pub(crate) const ORDERS_ROUTE: &str = "orders";
pub(crate) const RETURNS_ROUTE: &str = "returns";
pub(crate) const CARTS_ROUTE: &str = "carts";
pub(crate) const CART_ITEMS_ROUTE: &str = "cart items";
pub(crate) const CART_CLAIMS_ROUTE: &str = "cart claims";
pub(crate) const CART_CHECKOUTS_ROUTE: &str = "cart checkouts";
pub(crate) const SALES_ROUTE: &str = "sales";

/// An order with what is still to be done for it, and under which lease.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) order: Order,
    pub(crate) work: Option<Work>,
    pub(crate) lease: Lease,
    pub(crate) payload_hash: String,
    pub(crate) refusal: Option<Answer>,
    /// Whether the summaries of sales count it.
    pub(crate) summed: bool,
}

/// The right to drive an order: whoever wrote it last under the highest epoch has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) owner: String,
    pub(crate) epoch: i64,
    pub(crate) until: Timestamp,
}

/// The lease of an order, as it is to be renewed.
pub(crate) type Leased = (OrderId, i64);

#[cfg(test)]
mod cart_tests;
#[cfg(test)]
mod tests;
