//! What this service asks of its database. All SQL stands here; rows become domain types before they leave.

pub mod payments;
pub mod sandbox;

/// The schema's steps, numbered past those of the shared tables.
pub const MIGRATIONS: &[db::Migration] = &[db::Migration {
    version: 101,
    name: "payments",
    sql: include_str!("../../migrations/0001_init.sql"),
}];
