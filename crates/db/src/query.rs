//! Statements and their parameters.

use sqlx::{
    AssertSqlSafe, Encode, Postgres, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, types::Oid},
    query::Query as Prepared,
    sqlite::SqliteArguments,
};

use crate::{Result, Row, Tx, Value, engine::Engine, pool::Connection, postgres::within, row::Inner, value::json_rows};

/// A statement with its parameters.
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is run"]
pub struct Query {
    text: String,
    values: Vec<Value>,
}

/// A statement with parameters `$1`, `$2`, …. Placeholders stand for syntax that differs between engines:
///
/// - `{list $1}` is a list of texts bound by [`Query::list`], `{ints $1}` one of numbers: `where id in {list $1}`;
/// - `{rows $1}` is a table of rows bound by [`Query::rows`], to be named `r`, whose columns are
///   `r.value->>0`, `r.value->>1`, … (text; numbers by `cast(r.value->>1 as bigint)`);
/// - `{locked}` at the end of a select locks its rows until the transaction ends;
/// - `{skip locked}` at the end of a sub-select skips rows that other transactions have locked.
pub fn query(text: impl Into<String>) -> Query {
    Query { text: text.into(), values: Vec::new() }
}

/// Runs a method of sqlx on the engine of the transaction.
macro_rules! on_engine {
    ($query:expr, $tx:expr, $method:ident, $wrap:expr) => {{
        let Query { text, values } = $query;
        $tx.counters.statements.inc();
        let text = AssertSqlSafe($tx.translate(&text));
        let limit = $tx.limit;
        match $tx.connection() {
            Connection::Sqlite(connection) => {
                let done = values.into_iter().fold(sqlx::query(text), bind_sqlite).$method(connection).await;
                $wrap(done.map_err(|source| $tx.failed(source))?, Inner::Sqlite)
            }
            #[cfg(feature = "simulation")]
            Connection::InStep(connection) => {
                let query = values.into_iter().fold(sqlx::query(text), bind_sqlite);
                let done = crate::in_step::run(connection, async |connection| query.$method(connection).await);
                $wrap(done.map_err(|source| $tx.failed(source))?, Inner::Sqlite)
            }
            Connection::Postgres(connection) => {
                let work = values.into_iter().fold(sqlx::query(text), bind_postgres).$method(connection);
                let done = within(limit, work).await?;
                $wrap(done, Inner::Postgres)
            }
        }
    }};
}

fn all<R>(rows: Vec<R>, wrap: fn(R) -> Inner) -> Vec<Row> {
    rows.into_iter().map(|row| Row(wrap(row))).collect()
}

fn optional<R>(row: Option<R>, wrap: fn(R) -> Inner) -> Option<Row> {
    row.map(|row| Row(wrap(row)))
}

fn one<R>(row: R, wrap: fn(R) -> Inner) -> Row {
    Row(wrap(row))
}

fn bind_sqlite<'q>(
    query: Prepared<'q, Sqlite, SqliteArguments>,
    value: Value,
) -> Prepared<'q, Sqlite, SqliteArguments> {
    match value.without_nul() {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        list @ (Value::Texts(_) | Value::Ints(_)) => query.bind(serde_json::Value::from(list).to_string()),
        Value::Null => query.bind(None::<String>),
    }
}

fn bind_postgres<'q>(query: Prepared<'q, Postgres, PgArguments>, value: Value) -> Prepared<'q, Postgres, PgArguments> {
    match value.without_nul() {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Texts(texts) => query.bind(texts),
        Value::Ints(numbers) => query.bind(numbers),
        Value::Null => query.bind(Untyped),
    }
}

/// A NULL whose type the server infers from the context, as SQLite does.
struct Untyped;

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        // 0 is "unspecified" in the protocol's Parse message.
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> std::result::Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

impl Query {
    /// Binds the next parameter.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Binds the next parameter: a list of texts, for `{list $n}`.
    pub fn list<T: AsRef<str>>(self, items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<String> = items.into_iter().map(|item| item.as_ref().to_owned()).collect();
        self.bind(items)
    }

    /// Binds the next parameter: a list of numbers, for `{ints $n}`.
    pub fn ints(self, items: impl IntoIterator<Item = i64>) -> Self {
        self.bind(Value::Ints(items.into_iter().map(Some).collect()))
    }

    /// Binds the next parameter: rows, for `{rows $n}`.
    pub fn rows(self, rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        self.bind(json_rows(rows))
    }

    /// Returns all rows.
    pub async fn fetch_all(self, tx: &mut Tx) -> Result<Vec<Row>> {
        Ok(on_engine!(self, tx, fetch_all, all))
    }

    /// Returns the first row, if there is one.
    pub async fn fetch_optional(self, tx: &mut Tx) -> Result<Option<Row>> {
        Ok(on_engine!(self, tx, fetch_optional, optional))
    }

    /// Returns the first row, which must exist.
    pub async fn fetch_one(self, tx: &mut Tx) -> Result<Row> {
        Ok(on_engine!(self, tx, fetch_one, one))
    }

    /// Runs a write; returns the number of rows affected.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        let Self { text, values } = self;
        tx.counters.statements.inc();
        let text = AssertSqlSafe(tx.translate(&text));
        let limit = tx.limit;
        let affected = match tx.connection() {
            Connection::Sqlite(connection) => {
                let done = values.into_iter().fold(sqlx::query(text), bind_sqlite).execute(connection).await;
                done.map_err(|source| tx.failed(source))?.rows_affected()
            }
            #[cfg(feature = "simulation")]
            Connection::InStep(connection) => {
                let query = values.into_iter().fold(sqlx::query(text), bind_sqlite);
                let done = crate::in_step::run(connection, async |connection| query.execute(connection).await);
                done.map_err(|source| tx.failed(source))?.rows_affected()
            }
            Connection::Postgres(connection) => {
                let work = values.into_iter().fold(sqlx::query(text), bind_postgres).execute(connection);
                within(limit, work).await?.rows_affected()
            }
        };
        tx.wrote |= affected > 0;
        Ok(affected)
    }
}

/// An insert of many rows by one statement.
#[derive(Debug)]
#[must_use = "an insert does nothing until it is run"]
pub struct Insert {
    table: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
    suffix: &'static str,
}

/// Inserts rows in their order by one statement. Without rows it does nothing.
pub fn insert(
    table: &'static str,
    columns: &'static [&'static str],
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Insert {
    Insert { table, columns, rows: rows.into_iter().collect(), suffix: "" }
}

impl Insert {
    /// Sets the end of the statement: `on conflict (id) do nothing`, `returning id`.
    pub fn suffix(mut self, suffix: &'static str) -> Self {
        self.suffix = suffix;
        self
    }

    fn query(self, engine: Engine) -> Query {
        let (table, columns) = (self.table, self.columns.join(", "));
        match engine {
            Engine::Sqlite => {
                let cells: Vec<String> = (0..self.columns.len()).map(|n| format!("value->>{n}")).collect();
                // `where true` prevents SQLite from parsing `on conflict` as the join condition of the select.
                let (cells, suffix) = (cells.join(", "), self.suffix);
                query(format!("insert into {table} ({columns}) select {cells} from json_each($1) where true {suffix}"))
                    .rows(self.rows)
            }
            Engine::Postgres => {
                let mut selected = Vec::with_capacity(self.columns.len());
                let (mut names, mut sources, mut arrays) = (Vec::new(), Vec::new(), Vec::new());
                for (n, column) in columns_of(self.columns.len(), self.rows).into_iter().enumerate() {
                    let kind = match column {
                        Value::Ints(_) => "bigint",
                        Value::Texts(_) => "text",
                        _ => {
                            selected.push("null".to_owned());
                            continue;
                        }
                    };
                    selected.push(format!("c{n}"));
                    names.push(format!("c{n}"));
                    arrays.push(column);
                    sources.push(format!("${}::{kind}[]", arrays.len()));
                }
                let (selected, sources, names) = (selected.join(", "), sources.join(", "), names.join(", "));
                let text = format!(
                    "insert into {table} ({columns}) select {selected} from unnest({sources}) as r({names}) {}",
                    self.suffix
                );
                arrays.into_iter().fold(query(text), Query::bind)
            }
        }
    }

    /// Runs the insert; returns the number of rows inserted.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        if self.rows.is_empty() {
            return Ok(0);
        }
        self.query(tx.engine()).execute(tx).await
    }

    /// Runs the insert; returns the rows of its `returning` clause.
    pub async fn fetch_all(self, tx: &mut Tx) -> Result<Vec<Row>> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        self.query(tx.engine()).fetch_all(tx).await
    }
}

/// Transposes rows into columns: each an array of numbers or texts, or `Null` if all its cells are.
fn columns_of(count: usize, rows: Vec<Vec<Value>>) -> Vec<Value> {
    let mut columns = vec![Value::Null; count];
    for (done, row) in rows.into_iter().enumerate() {
        for (column, cell) in columns.iter_mut().zip(row) {
            match (&mut *column, cell) {
                (Value::Ints(numbers), Value::Int(number)) => numbers.push(Some(number)),
                (Value::Ints(numbers), _) => numbers.push(None),
                (Value::Texts(texts), Value::Text(text)) => texts.push(Some(text)),
                (Value::Texts(texts), _) => texts.push(None),
                // The first cell that is not null determines the type of the column.
                (first, Value::Int(number)) => {
                    let mut numbers = vec![None; done];
                    numbers.push(Some(number));
                    *first = Value::Ints(numbers);
                }
                (first, Value::Text(text)) => {
                    let mut texts = vec![None; done];
                    texts.push(Some(text));
                    *first = Value::Texts(texts);
                }
                _ => {}
            }
        }
    }
    columns
}
