//! Database errors, independent of the engine.

use std::io::ErrorKind;

/// A failed statement or connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write violates a constraint: a unique key, primary key, CHECK or foreign key.
    #[error("the write violates constraint {name}")]
    Constraint {
        /// `<table>_<columns>_key`, `<table>_pkey` or the CHECK's own name, on every engine.
        name: String,
        /// The error of the engine.
        #[source]
        source: sqlx::Error,
    },
    /// The database does not respond, or another process locks it for too long.
    #[error("the database does not respond")]
    Unavailable(#[source] sqlx::Error),
    /// A conflict with another transaction, such as a deadlock: a retry may succeed.
    #[error("conflict with another transaction")]
    Conflict(#[source] sqlx::Error),
    /// The URL is not a valid database URL.
    #[error("`{0}` is not a database URL, which is sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")]
    Url(String),
    /// The schema does not match the migrations of this version.
    #[error("the schema cannot be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A column whose value is invalid: written by another program, or damaged.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// A programming error: wrong SQL, wrong type, a missing row that must exist.
    #[error("a statement failed")]
    Defect(#[source] sqlx::Error),
}

impl Error {
    /// The name of the violated constraint, if the error is a violation.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether the database is unreachable or busy, so that only a later retry can succeed.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Conflict(_))
    }

    /// Whether the data of the write is at fault: it violates a constraint, or is no value of its column. The same write would fail
    /// again, while after any other error it may succeed once the store, its settings or this program are in order.
    pub fn is_of_data(&self) -> bool {
        match self {
            Self::Constraint { .. } => true,
            Self::Defect(sqlx::Error::Database(error)) => match error.code() {
                Some(code) if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() => {
                    sqlstate::DATA.iter().any(|class| code.starts_with(class))
                }
                Some(code) => primary(&code).is_some_and(|code| code::DATA.contains(&code)),
                None => false,
            },
            _ => false,
        }
    }

    /// Whether the disk of an SQLite file is full or fails.
    pub(crate) fn is_of_disk(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => {
                error.code().and_then(|code| primary(&code)).is_some_and(|code| code::DISK.contains(&code))
            }
            _ => false,
        }
    }

    /// Whether an immediate retry of the transaction may succeed: it conflicted with another one, or lost its connection.
    /// False for an unreachable server.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict(_) => true,
            Self::Unavailable(source) => match source {
                // Refused or timed out: the server is unreachable. Any other error of an open connection: it was closed.
                sqlx::Error::Io(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut),
                sqlx::Error::Database(error) => error.code().is_some_and(|code| sqlstate::CLOSED.contains(&&*code)),
                _ => false,
            },
            _ => false,
        }
    }
}

/// PostgreSQL's codes (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
mod sqlstate {
    /// Classes of constraint violations.
    pub(super) const INTEGRITY: &str = "23";
    /// Serialization failure, deadlock.
    pub(super) const CONFLICT: [&str; 2] = ["40001", "40P01"];
    /// Classes of data exceptions: a value that its column or an operator does not take, or that exceeds a limit.
    pub(super) const DATA: [&str; 2] = ["22", "54"];
    /// Classes of errors that only an operator or time can end: connection exceptions, role may not log in, no such database,
    /// insufficient resources, operator intervention (also a statement's time-out), system error, internal error; then
    /// missing privilege, lock not available, read-only after a failover, idle in transaction for too long.
    pub(super) const TEMPORARY: [&str; 7] = ["08", "28", "3D", "53", "57", "58", "XX"];
    pub(super) const TEMPORARY_CODES: [&str; 4] = ["42501", "55P03", "25006", "25P03"];
    /// The server closed this connection: shut down, crashed, starting.
    pub(super) const CLOSED: [&str; 2] = ["57P01", "57P02"];
}

/// SQLite's extended result codes (<https://sqlite.org/rescode.html>).
mod code {
    pub(super) const PRIMARY_KEY: &str = "1555";
    pub(super) const UNIQUE: &str = "2067";
    pub(super) const ROWID: &str = "2579";
    pub(super) const CHECK: &str = "275";
    pub(super) const FOREIGN_KEY: &str = "787";
    /// Primary codes of temporary errors: BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
    pub(super) const TEMPORARY: [i64; 9] = [5, 6, 7, 8, 9, 10, 13, 14, 15];
    /// Primary codes of a failing disk: IOERR, FULL.
    pub(super) const DISK: [i64; 2] = [10, 13];
    /// Primary codes of values that the store does not take: TOOBIG, MISMATCH.
    pub(super) const DATA: [i64; 2] = [18, 20];
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        match &source {
            sqlx::Error::Database(database)
                if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() =>
            {
                let code = database.code().unwrap_or_default();
                match database.constraint() {
                    Some(name) if code.starts_with(sqlstate::INTEGRITY) => {
                        Self::Constraint { name: name.to_owned(), source }
                    }
                    _ if sqlstate::CONFLICT.contains(&&*code) => Self::Conflict(source),
                    _ if sqlstate::TEMPORARY.iter().any(|class| code.starts_with(class))
                        || sqlstate::TEMPORARY_CODES.contains(&&*code) =>
                    {
                        Self::Unavailable(source)
                    }
                    _ => Self::Defect(source),
                }
            }
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                match constraint(&code, database.message()) {
                    Some(name) => Self::Constraint { name, source },
                    None if is_temporary(&code) => Self::Unavailable(source),
                    None => Self::Defect(source),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(source),
            _ => Self::Defect(source),
        }
    }
}

fn is_temporary(code: &str) -> bool {
    primary(code).is_some_and(|code| code::TEMPORARY.contains(&code))
}

/// The primary code of an extended result code of SQLite: its low byte.
fn primary(code: &str) -> Option<i64> {
    code.parse::<i64>().ok().map(|code| code & 0xff)
}

/// The constraint in an SQLite error. SQLite reports the columns, from which the name that Postgres would give is derived.
fn constraint(code: &str, message: &str) -> Option<String> {
    let object = message.rsplit_once(": ").map_or(message, |(_, object)| object);
    let table = object.split('.').next().unwrap_or_default();
    match code {
        code::PRIMARY_KEY | code::ROWID => Some(format!("{table}_pkey")),
        code::UNIQUE => {
            let columns: Vec<&str> = object.split(", ").filter_map(|column| column.split('.').nth(1)).collect();
            Some(format!("{table}_{}_key", columns.join("_")))
        }
        code::CHECK => Some(object.to_owned()),
        code::FOREIGN_KEY => Some("foreign_key".to_owned()),
        _ => None,
    }
}
