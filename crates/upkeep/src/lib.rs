//! Periodic work that one replica at a time does, under a lease.
//!
//! A lease here avoids duplicate work, but is no safeguard: a replica that was paused and continues after its lease expired
//! repeats work that may be repeated (a message is published again, a row is deleted that is gone). What must not happen
//! twice is guarded by the write itself.

mod job;
mod lease;
mod prune;
mod shard_lease;

pub use job::{BATCH, Job, LastSuccess, prune, start};
pub use lease::{Lease, Leases, SqlLeases};
pub use prune::{Prune, pruned_before};
pub use shard_lease::ShardLease;

/// A duration of `count` days.
pub const fn days(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count.saturating_mul(24 * 3_600))
}

/// A duration of `count` hours.
pub const fn hours(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count.saturating_mul(3_600))
}

/// The tables of leases, to be migrated together with a service's own.
pub const MIGRATIONS: &[db::Migration] =
    &[db::Migration { version: 2, name: "leases", sql: include_str!("../migrations/leases.sql") }];
