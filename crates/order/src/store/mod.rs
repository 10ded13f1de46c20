//! SQL of the order service.
//!
//! Functions take the transaction, so that a write and its events are one unit. Those of the saga take many orders at
//! once, which share a commit.

pub(crate) mod carts;
mod idempotency_keys;
mod insert;
mod leases;
mod order_row;
mod orders;
mod returns;
pub(crate) mod sales;
mod updates;
pub(crate) mod withdrawals;

use commerce::Timestamp;
use db::Migration;

use crate::domain::{Order, PendingWork};

pub(crate) use idempotency_keys::{StoredResponse, find_key, put_key, put_key_with_response, put_response, routes};
pub(crate) use insert::{InsertOutcome, OrderInsert, insert_orders, insert_terminal};
pub(crate) use leases::{Takeover, count_open_by_age, has_takeover, release_leases, renew, take_over};
pub(crate) use order_row::line_id;
pub(crate) use orders::{OrderFilter, all_orders, count, find, get, get_locked, list, numbers};
pub(crate) use returns::{ReturnRow, all_returns, find_return, insert_return, refunded, returns_of, set_refund};
pub(crate) use updates::{
    OrderUpdate, ReadVersion, UpdateKind, amend, apply_updates, archive, set_payment_status, update,
};

/// The tables of this service; those of the bus are in the same database.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 100, name: "orders", sql: include_str!("../../migrations/0001_orders.sql") },
    Migration { version: 101, name: "history", sql: include_str!("../../migrations/0002_history.sql") },
    Migration { version: 102, name: "carts", sql: include_str!("../../migrations/0003_carts.sql") },
    Migration { version: 103, name: "channel", sql: include_str!("../../migrations/0004_channel.sql") },
    Migration { version: 104, name: "sales", sql: include_str!("../../migrations/0005_sales.sql") },
    Migration { version: 105, name: "metadata", sql: include_str!("../../migrations/0006_metadata.sql") },
    Migration { version: 106, name: "withdrawals", sql: include_str!("../../migrations/0007_withdrawals.sql") },
];

/// Rows that are deleted by age. Orders are kept for the accounts.
pub(crate) fn prunes(config: &crate::Config) -> Vec<upkeep::Prune> {
    vec![
        bus::outbox::prune(upkeep::days(config.outbox_days)),
        bus::inbox::prune(upkeep::days(config.inbox_days)),
        withdrawals::prune(upkeep::days(config.inbox_days)),
        upkeep::Prune {
            table: "idempotency",
            key: "subject, route, key",
            // A key without a final response is kept, however long that takes.
            old: "created_at < $1 and status is not null",
            keep: upkeep::hours(config.idempotency_hours),
        },
        upkeep::Prune {
            table: "carts",
            key: "id",
            // Customers' carts are kept. The items of a guest's cart are deleted with it.
            old: "customer_id is null and checking_out = 0 and updated_at < $1",
            keep: upkeep::days(config.guest_cart_days),
        },
        // A replica that crashed leaves the lease that showed its presence.
        upkeep::Prune { table: "leases", key: "name", old: "until < $1", keep: upkeep::days(1) },
    ]
}

/// An order with its pending work and lease.
#[derive(Debug, Clone)]
pub(crate) struct StoredOrder {
    pub(crate) order: Order,
    pub(crate) work: Option<PendingWork>,
    pub(crate) lease: Lease,
    pub(crate) payload_hash: String,
    /// The response that refused the order.
    pub(crate) refusal: Option<StoredResponse>,
    /// Whether the summaries of sales contain the order.
    pub(crate) summed: bool,
}

impl StoredOrder {
    /// The version to name in an update, which is refused if the order has changed since it was read.
    pub(crate) fn read_version(&self) -> ReadVersion {
        ReadVersion { version: self.order.version, epoch: self.lease.epoch }
    }
}

/// The right to run the saga of an order. It belongs to the writer of the highest epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) owner: String,
    pub(crate) epoch: i64,
    pub(crate) until: Timestamp,
}

#[cfg(test)]
mod cart_tests;
#[cfg(test)]
mod tests;
