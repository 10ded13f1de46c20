//! Periodic work that one replica does at a time, under a lease.
//!
//! A lease here saves work, it guards nothing: a replica that was paused and goes on after its lease ran out
//! does something twice that may be done twice (a message published again, an old row deleted that is gone).
//! What must not happen twice is guarded where it is written.

mod job;
mod lease;
mod prune;
mod shard_lease;

pub use job::{BATCH, Job, LastSuccess, prune, start};
pub use lease::{Lease, Leases, SqlLeases};
pub use prune::{Prune, pruned_before};
pub use shard_lease::ShardLease;

/// So many days.
pub const fn days(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count.saturating_mul(24 * 3_600))
}

/// So many hours.
pub const fn hours(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count.saturating_mul(3_600))
}

/// The tables of leases, to be migrated together with a service's own.
pub const MIGRATIONS: &[db::Migration] =
    &[db::Migration { version: 2, name: "leases", sql: include_str!("../migrations/leases.sql") }];
