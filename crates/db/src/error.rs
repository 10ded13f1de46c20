//! What can go wrong with a database, in terms that do not depend on the engine.

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
    /// The URL names no database that can be opened.
    #[error("`{0}` is no database URL: sqlite:PATH")]
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
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                match constraint(&code, database.message()) {
                    Some(name) => Self::Constraint { name, source },
                    None if not_now(&code) => Self::Unavailable(source),
                    None => Self::Defect(source),
                }
            }
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(source)
            }
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
