//! Connections: one that writes, a few that read.

use std::{str::FromStr, time::Duration};

use prometheus::{IntCounter, Registry};
use sqlx::{
    ConnectOptions as _, Sqlite, SqliteConnection, SqlitePool, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Error, Migration, Result, migrate::migrator};

/// How often, and after what pause, a migration that failed is tried again.
const MIGRATION_TRIES: u32 = 10;
const MIGRATION_PAUSE: Duration = Duration::from_millis(50);

/// How a database is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections that read at once.
    pub readers: u32,
    /// How long a caller waits for a connection, or for another process's lock, before it is told
    /// that the database is unavailable.
    pub patience: Duration,
    /// Open an existing database for reading only, as an auditor does.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 2, patience: Duration::from_secs(5), read_only: false }
    }
}

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    // SQLite takes one writer at a time, so waiting happens in our queue and not in its busy loop.
    writer: SqlitePool,
    readers: SqlitePool,
    pub(crate) counters: Counters,
}

/// What the database was asked to do, for `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) statements: IntCounter,
    pub(crate) commits: IntCounter,
}

impl Counters {
    fn new(registry: Option<&Registry>) -> Result<Self> {
        let counter = |name: &str, help: &str| -> Result<IntCounter> {
            let counter =
                IntCounter::new(name, help).map_err(|e| Error::Defect(sqlx::Error::Configuration(e.into())))?;
            if let Some(registry) = registry {
                // A service that opens two databases shares the counters of the first.
                let _ = registry.register(Box::new(counter.clone()));
            }
            Ok(counter)
        };
        Ok(Self {
            statements: counter("db_statements_total", "SQL statements run.")?,
            commits: counter("db_commits_total", "Durable commits of transactions that wrote.")?,
        })
    }
}

impl Db {
    /// Opens the database that the URL names (`sqlite:PATH`), and makes it if it is not there.
    /// Its counters go to `registry`.
    pub async fn open(url: &str, options: &Options, registry: Option<&Registry>) -> Result<Self> {
        let path = url
            .strip_prefix("sqlite:")
            .filter(|path| !path.is_empty())
            .ok_or_else(|| Error::Url(hide_password(url)))?;
        let file = path.split('?').next().unwrap_or(path);
        if let (false, Some(folder)) = (options.read_only, std::path::Path::new(file).parent()) {
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
        let writer = pool(1).connect_with(connect.clone()).await?;
        let readers = pool(options.readers.max(1)).connect_lazy_with(connect);
        Ok(Self { writer, readers, counters: Counters::new(registry)? })
    }

    /// Brings the schema up to date. Steps of several parts go in together, by version.
    ///
    /// Several processes may do this at once: one gets through, and the others, who found a step half done,
    /// look again.
    pub async fn migrate(&self, steps: &[Migration]) -> Result<()> {
        let migrator = migrator(steps);
        for _ in 0..MIGRATION_TRIES {
            if migrator.run(&self.writer).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(MIGRATION_PAUSE).await;
        }
        migrator.run(&self.writer).await.map_err(Error::from)
    }

    /// Begins a transaction that writes; waits for the one before it. Dropped, it is rolled back.
    pub async fn write(&self) -> Result<Tx> {
        let inner = Inner::Write(self.writer.begin_with("BEGIN IMMEDIATE").await?);
        Ok(self.tx(inner))
    }

    /// A connection that reads. Each statement sees one committed state of its own.
    pub async fn read(&self) -> Result<Tx> {
        let inner = Inner::Read(self.readers.acquire().await?);
        Ok(self.tx(inner))
    }

    /// A transaction that reads: all its statements see one committed state.
    pub async fn snapshot(&self) -> Result<Tx> {
        let inner = Inner::Write(self.readers.begin().await?);
        Ok(self.tx(inner))
    }

    /// Whether the database answers, for readiness.
    pub async fn ping(&self) -> Result<()> {
        let mut tx = self.read().await?;
        crate::query("select 1 as one").fetch_one(&mut tx).await?;
        Ok(())
    }

    /// SQL statements run so far.
    pub fn statements(&self) -> u64 {
        self.counters.statements.get()
    }

    /// Durable commits so far.
    pub fn commits(&self) -> u64 {
        self.counters.commits.get()
    }

    /// Closes the connections; the last one of a SQLite file empties its write-ahead log.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn tx(&self, inner: Inner) -> Tx {
        Tx { inner, counters: self.counters.clone() }
    }
}

fn hide_password(url: &str) -> String {
    match url.split_once("://").zip(url.rsplit_once('@')) {
        Some(((scheme, _), (_, host))) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

/// A connection in use: what a store's functions take, so that a write and the event that tells of it
/// are one unit by signature.
#[derive(Debug)]
pub struct Tx {
    inner: Inner,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
enum Inner {
    Write(Transaction<'static, Sqlite>),
    Read(PoolConnection<Sqlite>),
}

impl Tx {
    /// Makes the transaction's writes durable, all or none.
    pub async fn commit(self) -> Result<()> {
        if let Inner::Write(tx) = self.inner {
            tx.commit().await?;
            self.counters.commits.inc();
        }
        Ok(())
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        match &mut self.inner {
            Inner::Write(tx) => tx,
            Inner::Read(connection) => connection,
        }
    }
}
