//! SQL over one database: pool, transactions, migrations, constraint mapping.
//!
//! A service writes one text per query, with `$1` parameters over BIGINT and TEXT columns (times are
//! microseconds, money minor units, truth 0 or 1), and this crate runs it on the engine that the URL
//! names: SQLite, in WAL mode with `synchronous = FULL`, or PostgreSQL. What differs by engine stays
//! behind [`Db`], [`Tx`] and the placeholders of [`query()`] and [`Migration`].

mod engine;
mod error;
mod filter;
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

/// What this crate's functions give.
pub type Result<T> = std::result::Result<T, Error>;
