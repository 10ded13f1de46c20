//! Statements, their parameters and their rows.

use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};

use crate::{Error, Result, Tx};

/// A parameter or a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BLOB, BYTEA.
    Bytes(Vec<u8>),
    /// NULL.
    Null,
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => number.into(),
            Value::Text(text) => text.into(),
            // Not for bulk rows, which travel as JSON; kept readable rather than lost.
            Value::Bytes(bytes) => bytes.into(),
            Value::Null => Self::Null,
        }
    }
}

/// A statement with its parameters.
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is run"]
pub struct Query {
    text: String,
    values: Vec<Value>,
}

/// A statement. Parameters are `$1`, `$2`, …. Two placeholders stand for what engines spell differently:
///
/// - `{list $1}` is a sub-select of many texts bound by [`Query::list`]: `where id in {list $1}`;
/// - `{rows $1}` is a table of many rows bound by [`Query::rows`], to be named `r`, whose columns are
///   `r.value->>0`, `r.value->>1`, … (text; numbers by `cast(r.value->>1 as bigint)`).
pub fn query(text: impl Into<String>) -> Query {
    let mut text = text.into();
    if text.contains('{') {
        text =
            text.replace("{list ", "(select value from json_each(").replace("{rows ", "json_each(").replace('}', ")");
        // `{list $1}` opened two brackets, `{rows $1}` one.
        text = close_lists(text);
    }
    Query { text, values: Vec::new() }
}

fn close_lists(text: String) -> String {
    const OPENED: &str = "(select value from json_each(";
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.as_str();
    while let Some(start) = rest.find(OPENED) {
        let (before, tail) = rest.split_at(start + OPENED.len());
        out.push_str(before);
        match tail.split_once(')') {
            Some((parameter, after)) => {
                out.push_str(parameter);
                out.push_str("))");
                rest = after;
            }
            None => rest = tail,
        }
    }
    out.push_str(rest);
    out
}

/// Binds all values; a macro because sqlx's query type borrows and cannot be named in one function's answer.
macro_rules! prepare {
    ($query:expr) => {{
        let Query { text, values } = $query;
        let mut prepared = sqlx::query(AssertSqlSafe(text));
        for value in values {
            prepared = match value {
                Value::Int(number) => prepared.bind(number),
                Value::Text(text) => prepared.bind(text),
                Value::Bytes(bytes) => prepared.bind(bytes),
                Value::Null => prepared.bind(None::<String>),
            };
        }
        prepared
    }};
}

impl Query {
    /// Binds the next parameter.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Binds the next parameter: many texts, for `{list $n}`.
    pub fn list<T: AsRef<str>>(self, items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<Json> = items.into_iter().map(|item| item.as_ref().into()).collect();
        self.bind(Json::Array(items).to_string())
    }

    /// Binds the next parameter: many rows, for `{rows $n}`.
    pub fn rows(self, rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        self.bind(json_rows(rows))
    }

    /// All rows.
    pub async fn fetch_all(self, tx: &mut Tx) -> Result<Vec<Row>> {
        tx.counters.statements.inc();
        let rows = prepare!(self).fetch_all(tx.connection()).await?;
        Ok(rows.into_iter().map(Row).collect())
    }

    /// The first row, if there is one.
    pub async fn fetch_optional(self, tx: &mut Tx) -> Result<Option<Row>> {
        tx.counters.statements.inc();
        Ok(prepare!(self).fetch_optional(tx.connection()).await?.map(Row))
    }

    /// The first row, which must be there.
    pub async fn fetch_one(self, tx: &mut Tx) -> Result<Row> {
        tx.counters.statements.inc();
        Ok(Row(prepare!(self).fetch_one(tx.connection()).await?))
    }

    /// Runs a change; tells how many rows it touched.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        tx.counters.statements.inc();
        Ok(prepare!(self).execute(tx.connection()).await?.rows_affected())
    }
}

fn json_rows(rows: impl IntoIterator<Item = Vec<Value>>) -> String {
    let rows: Vec<Json> = rows.into_iter().map(|row| Json::Array(row.into_iter().map(Json::from).collect())).collect();
    Json::Array(rows).to_string()
}

/// Many rows into one table by one statement.
#[derive(Debug)]
#[must_use = "an insert does nothing until it is run"]
pub struct Insert {
    table: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
    suffix: &'static str,
}

/// An insert of many rows, in their order. Without rows it does nothing.
pub fn insert(
    table: &'static str,
    columns: &'static [&'static str],
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Insert {
    Insert { table, columns, rows: rows.into_iter().collect(), suffix: "" }
}

impl Insert {
    /// What follows the rows: `on conflict (id) do nothing`, `returning id`.
    pub fn suffix(mut self, suffix: &'static str) -> Self {
        self.suffix = suffix;
        self
    }

    fn query(self) -> Query {
        let cells: Vec<String> = (0..self.columns.len()).map(|n| format!("value->>{n}")).collect();
        // `where true` keeps SQLite from reading `on conflict` as the join condition of the select.
        query(format!(
            "insert into {} ({}) select {} from json_each($1) where true {}",
            self.table,
            self.columns.join(", "),
            cells.join(", "),
            self.suffix
        ))
        .rows(self.rows)
    }

    /// Runs it; tells how many rows went in.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        if self.rows.is_empty() {
            return Ok(0);
        }
        self.query().execute(tx).await
    }

    /// Runs it and gives what the suffix returns.
    pub async fn fetch_all(self, tx: &mut Tx) -> Result<Vec<Row>> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        self.query().fetch_all(tx).await
    }
}

/// A row of an answer.
#[derive(Debug)]
pub struct Row(SqliteRow);

impl Row {
    /// The cell of a column: `i64`, `bool`, `String`, `Vec<u8>`, or an `Option` of one.
    pub fn get<'r, T>(&'r self, column: &str) -> Result<T>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.0.try_get(column).map_err(Error::Defect)
    }
}
