//! Result rows.

use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use crate::{Error, Result};

/// A row of a result.
#[derive(Debug)]
pub struct Row(pub(crate) Inner);

#[derive(Debug)]
pub(crate) enum Inner {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The cell of a column: `i64`, `bool`, `String`, `Option<i64>` or `Option<String>`.
    pub fn get<T: Cell>(&self, column: &str) -> Result<T> {
        T::read(self, column).map_err(Error::Defect)
    }
}

/// A type that a cell can be read as.
pub trait Cell: Sized {
    /// Reads the cell.
    #[doc(hidden)]
    fn read(row: &Row, column: &str) -> std::result::Result<Self, sqlx::Error>;
}

macro_rules! cell {
    ($($kind:ty),+) => {$(
        impl Cell for $kind {
            fn read(row: &Row, column: &str) -> std::result::Result<Self, sqlx::Error> {
                match &row.0 {
                    Inner::Sqlite(row) => row.try_get(column),
                    Inner::Postgres(row) => row.try_get(column),
                }
            }
        }
    )+};
}
cell!(String, Option<String>, Option<i64>);

impl Cell for i64 {
    fn read(row: &Row, column: &str) -> std::result::Result<Self, sqlx::Error> {
        match &row.0 {
            Inner::Sqlite(row) => row.try_get(column),
            // Postgres types an integer literal as INT4.
            Inner::Postgres(row) => row.try_get(column).or_else(|_| row.try_get::<i32, _>(column).map(Self::from)),
        }
    }
}

/// Booleans are stored as 0 or 1.
impl Cell for bool {
    fn read(row: &Row, column: &str) -> std::result::Result<Self, sqlx::Error> {
        i64::read(row, column).map(|number| number != 0)
    }
}
