//! SQLite: a file, WAL, `synchronous = FULL`.

use std::{path::Path, str::FromStr};

use sqlx::{
    ConnectOptions as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Error, Options, Result,
    migrate::{PAUSE, TRIES},
};

/// Opens the writer's pool of one and the readers'.
pub(crate) async fn open(path: &str, options: &Options) -> Result<(SqlitePool, SqlitePool)> {
    let file = path.split('?').next().unwrap_or(path);
    if let (false, Some(folder)) = (options.read_only, Path::new(file).parent()) {
        // If it cannot be made, opening the file says why.
        let _ = std::fs::create_dir_all(folder);
    }
    let connect = SqliteConnectOptions::from_str(&format!("sqlite:{path}"))?
        .create_if_missing(!options.read_only)
        .read_only(options.read_only)
        .busy_timeout(options.patience)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        // A page that changes often goes from the log to the file once, not every megabyte.
        .pragma("wal_autocheckpoint", "4000")
        .disable_statement_logging()
        .statement_cache_capacity(64);
    let connect = if options.read_only { connect } else { connect.journal_mode(SqliteJournalMode::Wal) };
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(options.patience)
            .idle_timeout(None)
            .max_lifetime(None)
            // A file does not hang up, so a ping before each use would only cost.
            .test_before_acquire(false)
    };
    // The first of several processes that open a new file at once makes it a WAL, and SQLite does not have the others wait
    // for that.
    let mut tries = 0;
    let writer = loop {
        match pool(1).connect_with(connect.clone()).await.map_err(Error::from) {
            Err(Error::Unavailable(_)) if tries < TRIES => tries += 1,
            opened => break opened?,
        }
        tokio::time::sleep(PAUSE).await;
    };
    let readers = pool(options.readers.max(1)).connect_lazy_with(connect);
    Ok((writer, readers))
}
