//! What can go wrong with a database, in terms that do not depend on the engine.

use std::io::ErrorKind;

/// A failed statement or connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The schema refused: a unique key, primary key, CHECK or foreign key.
    #[error("constraint {name} refused the write")]
    Constraint {
        /// `<table>_<columns>_key`, `<table>_pkey` or the CHECK's own name, on every engine.
        name: String,
        /// What the engine said.
        #[source]
        source: sqlx::Error,
    },
    /// The database does not answer, or is locked by somebody else for too long.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// Somebody else's transaction stood in the way: the same again may succeed.
    #[error("another transaction stood in the way")]
    Conflict(#[source] sqlx::Error),
    /// The URL names no database that can be opened.
    #[error("`{0}` is no database URL: sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")]
    Url(String),
    /// The tables are not those that this version knows.
    #[error("the schema cannot be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row that was written by somebody else, or is damaged: which column.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// A defect: wrong SQL, wrong type, a row that must be there and is not.
    #[error("a statement failed")]
    Defect(#[source] sqlx::Error),
}

impl Error {
    /// The name of the constraint that refused, if one did.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether to ask again later is all that can be done: the database is away, or busy with others.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Conflict(_))
    }

    /// Whether the same transaction, run again at once, may succeed: others stood in the way, or the
    /// connection was lost. A server that cannot be reached at all is not asked again at once.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict(_) => true,
            Self::Unavailable(source) => match source {
                // Refused means away, and so does silence; anything else on an open connection means it was cut.
                sqlx::Error::Io(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut),
                sqlx::Error::Database(error) => error.code().is_some_and(|code| sqlstate::ENDED.contains(&&*code)),
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
    /// Classes that say "not now": connection exceptions, insufficient resources, operator intervention (also a
    /// statement's time-out), system error; then lock not available, read-only after a failover, idle in
    /// transaction for too long.
    pub(super) const NOT_NOW: [&str; 4] = ["08", "53", "57", "58"];
    pub(super) const NOT_NOW_CODES: [&str; 3] = ["55P03", "25006", "25P03"];
    /// The server ended this connection: shut down, crashed, starting.
    pub(super) const ENDED: [&str; 2] = ["57P01", "57P02"];
}

/// SQLite's extended result codes (<https://sqlite.org/rescode.html>).
mod code {
    pub(super) const PRIMARY_KEY: &str = "1555";
    pub(super) const UNIQUE: &str = "2067";
    pub(super) const ROWID: &str = "2579";
    pub(super) const CHECK: &str = "275";
    pub(super) const FOREIGN_KEY: &str = "787";
    /// Primary codes that say "not now": BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
    pub(super) const NOT_NOW: [i64; 9] = [5, 6, 7, 8, 9, 10, 13, 14, 15];
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
                    _ if sqlstate::NOT_NOW.iter().any(|class| code.starts_with(class))
                        || sqlstate::NOT_NOW_CODES.contains(&&*code) =>
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
                    None if not_now(&code) => Self::Unavailable(source),
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

fn not_now(code: &str) -> bool {
    // The low byte of an extended code is its primary code.
    code.parse::<i64>().is_ok_and(|code| code::NOT_NOW.contains(&(code & 0xff)))
}

/// Postgres names constraints itself; SQLite tells the columns, which are turned into the same name.
fn constraint(code: &str, message: &str) -> Option<String> {
    let told = message.rsplit_once(": ").map_or(message, |(_, told)| told);
    let table = told.split('.').next().unwrap_or_default();
    match code {
        code::PRIMARY_KEY | code::ROWID => Some(format!("{table}_pkey")),
        code::UNIQUE => {
            let columns: Vec<&str> = told.split(", ").filter_map(|column| column.split('.').nth(1)).collect();
            Some(format!("{table}_{}_key", columns.join("_")))
        }
        code::CHECK => Some(told.to_owned()),
        code::FOREIGN_KEY => Some("foreign_key".to_owned()),
        _ => None,
    }
}
