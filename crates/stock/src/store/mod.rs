//! What this service asks of its database. All SQL stands here; rows become domain types before they leave.

pub(crate) mod answers;
pub(crate) mod books;
pub(crate) mod lists;
pub(crate) mod places;

/// The schema's steps, numbered past those of the shared tables.
pub(crate) const MIGRATIONS: &[db::Migration] =
    &[db::Migration { version: 101, name: "stock", sql: include_str!("../../migrations/0001_init.sql") }];
