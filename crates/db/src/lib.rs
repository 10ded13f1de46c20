//! SQL over one database: pool, transactions, migrations, constraint mapping.
//!
//! A service writes one text per query, with `$1` parameters over BIGINT and TEXT columns (times are
//! microseconds, money minor units, truth 0 or 1), and this crate runs it on the engine that the URL
//! names. Today that is SQLite, in WAL mode with `synchronous = FULL`; what differs by engine stays
//! behind [`Db`], [`Tx`] and the two placeholders of [`query()`], so that another engine is a change
//! to this crate alone.

mod error;
mod migrate;
mod pool;
mod query;

pub use error::Error;
pub use migrate::Migration;
pub use pool::{Db, Options, Tx};
pub use query::{Insert, Query, Row, Value, insert, query};

/// What this crate's functions give.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests;
