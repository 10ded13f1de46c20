//! SQLite: a file, WAL, `synchronous = FULL`.

use std::{path::Path, str::FromStr};

use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Error, Options, Result,
    migrate::{PAUSE, RETRIES},
};

/// How connections to the file at `path` are made.
pub(crate) fn connect_options(path: &str, options: &Options) -> Result<SqliteConnectOptions> {
    let file = path.split('?').next().unwrap_or(path);
    if let (false, Some(folder)) = (options.read_only, Path::new(file).parent()) {
        // If it cannot be created, opening the file reports the reason.
        let _ = std::fs::create_dir_all(folder);
    }
    let connect = SqliteConnectOptions::from_str(&format!("sqlite:{path}"))?
        .create_if_missing(!options.read_only)
        .read_only(options.read_only)
        .busy_timeout(options.timeout)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        // Fewer checkpoints than by default: a page that changes often is copied from the log to the file less often.
        .pragma("wal_autocheckpoint", "4000")
        .disable_statement_logging()
        .statement_cache_capacity(64);
    Ok(if options.read_only { connect } else { connect.journal_mode(SqliteJournalMode::Wal) })
}

/// Opens the pools of the single writer and of the readers.
pub(crate) async fn open(path: &str, options: &Options) -> Result<(SqlitePool, SqlitePool)> {
    let connect = connect_options(path, options)?;
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(options.timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            // A file connection cannot be lost, so a ping before each use is useless.
            .test_before_acquire(false)
            // SQLite rolls a transaction back by itself when the disk is full or fails (<https://sqlite.org/lang_transaction.html>,
            // section 3.2). sqlx does not notice, and the connection could never begin another one: it is replaced.
            .after_release(|connection, _| {
                Box::pin(async move {
                    if connection.is_in_transaction() {
                        // Waits until the rollback of a dropped transaction was tried.
                        connection.ping().await?;
                    }
                    Ok(!connection.is_in_transaction())
                })
            })
    };
    // When several processes open a new file at the same time, the first one switches it to WAL mode, and SQLite fails the
    // others instead of letting them wait.
    let mut retries = 0;
    let writer = loop {
        match pool(1).connect_with(connect.clone()).await.map_err(Error::from) {
            Err(Error::Unavailable(_)) if retries < RETRIES => retries += 1,
            opened => break opened?,
        }
        tokio::time::sleep(PAUSE).await;
    };
    let readers = pool(options.readers.max(1)).connect_lazy_with(connect);
    Ok((writer, readers))
}
