//! SQL over one database: pool, transactions, migrations, constraint mapping.
//!
//! A service writes each query once, with `$1` parameters over BIGINT and TEXT columns (times are microseconds, amounts minor
//! units, booleans 0 or 1). This crate runs it on the engine that the URL selects: SQLite, in WAL mode with
//! `synchronous = FULL`, or PostgreSQL. [`Db`], [`Tx`] and the placeholders of [`query()`] and [`Migration`] hide the
//! differences between the engines.

mod engine;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
mod filter;
#[cfg(feature = "simulation")]
mod in_step;
mod migrate;
mod pool;
mod postgres;
mod query;
mod retry;
mod row;
mod sqlite;
mod value;

pub use error::Error;
pub use filter::Filter;
pub use migrate::Migration;
pub use pool::{Db, Options, Tx};
pub use postgres::Listener;
pub use query::{Insert, Query, insert, query};
pub use retry::{AsDb, retry};
pub use row::{Cell, Row};
pub use value::Value;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
