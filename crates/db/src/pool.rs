//! Connections and transactions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use prometheus::{IntCounter, Registry};
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction, pool::PoolConnection};

#[cfg(feature = "simulation")]
use crate::in_step;
use crate::{Error, Listener, Migration, Result, engine::Engine, migrate, postgres, sqlite};

/// Options of opening a database.
#[derive(Debug, Clone)]
pub struct Options {
    /// The application name of the connections, which the administrator of a server sees.
    pub name: &'static str,
    /// Maximum number of read connections, on SQLite.
    pub readers: u32,
    /// How long to wait for a connection, or for the lock of another process, before the database counts as unavailable.
    pub timeout: Duration,
    /// Open an existing database read-only, as for the audit.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "souk", readers: 2, timeout: Duration::from_secs(5), read_only: false }
    }
}

impl Options {
    /// The default options, for a service of this name.
    pub fn of(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// The options for the audit, which reads whole stores and so has no time-out of a statement.
    pub fn auditor() -> Self {
        Self { name: "audit", read_only: true, ..Self::default() }
    }
}

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pools: Pools,
    pub(crate) counters: Counters,
    /// Microseconds by which the clock of the server is ahead of this machine's.
    clock_offset: Arc<AtomicI64>,
    #[cfg(feature = "faults")]
    pub(crate) faults: Option<crate::faults::Faults>,
}

#[derive(Clone, Debug)]
enum Pools {
    // SQLite allows one writer at a time, so writers wait in the pool's queue and not in SQLite's busy loop.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
        /// Whether the last write failed because of the disk.
        disk_failed: Arc<AtomicBool>,
    },
    // With the client-side time-out of a statement.
    Postgres(PgPool, Duration),
    #[cfg(feature = "simulation")]
    InStep(Arc<in_step::Connections>),
}

/// Counters of statements and commits, for `/metrics`.
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
    /// Opens the database at a URL: `sqlite:PATH`, which is created if it does not exist, or
    /// `postgres://USER:PASSWORD@HOST/NAME`, which need not be reachable yet. Registers its counters in `registry`.
    pub async fn open(url: &str, options: &Options, registry: Option<&Registry>) -> Result<Self> {
        let pools = if let Some(pools) = Pools::in_step(url, options)? {
            pools
        } else if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            let (writer, readers) = sqlite::open(path, options).await?;
            Pools::Sqlite { writer, readers, disk_failed: Arc::default() }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let (pool, limit) = postgres::open(url, options)?;
            Pools::Postgres(pool, limit)
        } else {
            return Err(Error::Url(hide_password(url)));
        };
        Ok(Self {
            pools,
            counters: Counters::new(registry)?,
            clock_offset: Arc::default(),
            #[cfg(feature = "faults")]
            faults: None,
        })
    }

    /// Migrates the schema. Migrations of several crates are passed together and ordered by version. Several processes may
    /// call this at the same time. Waits for a server that is not reachable yet.
    pub async fn migrate(&self, steps: &[Migration]) -> Result<()> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => migrate::sqlite(writer, steps).await,
            Pools::Postgres(pool, _) => migrate::postgres(pool, steps).await,
            #[cfg(feature = "simulation")]
            Pools::InStep(all) => migrate::in_step(&all.writer, steps).await,
        }
    }

    /// Begins a write transaction; it is rolled back when dropped. On SQLite it waits for the previous one to end. On Postgres
    /// (READ COMMITTED) others write at the same time, so a transaction whose decision depends on the presence or absence
    /// of rows must take its [`Tx::lock`] first.
    pub async fn write(&self) -> Result<Tx> {
        #[cfg(feature = "faults")]
        if let Some(faults) = &self.faults {
            faults.check(crate::faults::Point::Begin)?;
        }
        let inner = match &self.pools {
            Pools::Sqlite { writer, .. } => Inner::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres(pool, limit) => Inner::Postgres(postgres::begin(pool, *limit, None).await?),
            #[cfg(feature = "simulation")]
            Pools::InStep(all) => Inner::InStep(all.writer.begin("BEGIN IMMEDIATE").await?),
        };
        Ok(self.tx(inner))
    }

    /// A connection for reading. Each statement sees a committed state, not necessarily the same one.
    pub async fn read(&self) -> Result<Tx> {
        let inner = match &self.pools {
            Pools::Sqlite { readers, .. } => Inner::SqliteRead(readers.acquire().await?),
            Pools::Postgres(pool, _) => Inner::PostgresRead(pool.acquire().await?),
            #[cfg(feature = "simulation")]
            Pools::InStep(all) => Inner::InStepRead(all.readers.acquire().await?),
        };
        Ok(self.tx(inner))
    }

    /// Begins a read transaction: all its statements see the same committed state.
    pub async fn snapshot(&self) -> Result<Tx> {
        let inner = match &self.pools {
            Pools::Sqlite { readers, .. } => Inner::Sqlite(readers.begin().await?),
            Pools::Postgres(pool, limit) => {
                let statement = Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                Inner::PostgresSnapshot(postgres::begin(pool, *limit, statement).await?)
            }
            #[cfg(feature = "simulation")]
            Pools::InStep(all) => Inner::InStep(all.readers.begin("BEGIN").await?),
        };
        Ok(self.tx(inner))
    }

    /// Checks that the database responds and that a write could begin, for readiness. Writes only if the last write failed because
    /// of the disk, to see whether it can be written again.
    pub async fn ping(&self) -> Result<()> {
        let mut tx = self.write().await?;
        match &self.pools {
            _ if self.disk_failed().is_some_and(|failed| failed.load(Ordering::Relaxed)) => {
                // Nothing uses this number, and setting it writes a page.
                crate::query("pragma user_version = 0").execute(&mut tx).await?;
                tx.wrote = true;
                tx.commit().await
            }
            Pools::Sqlite { .. } => Ok(()),
            #[cfg(feature = "simulation")]
            Pools::InStep(_) => Ok(()),
            Pools::Postgres(..) => {
                // Refused by a server that only reads, as a standby after a failover.
                let writable = "select current_setting('transaction_read_only') as read_only";
                match crate::query(writable).fetch_one(&mut tx).await?.get::<String>("read_only")?.as_str() {
                    "off" => Ok(()),
                    _ => Err(Error::Unavailable(sqlx::Error::Protocol("the server does not accept writes".into()))),
                }
            }
        }
    }

    /// The time by the clock of the store, in microseconds since 1970: that of the server, which all replicas share, as it was last
    /// compared by [`Db::read_clock`]; on SQLite that of this machine.
    pub fn now_micros(&self) -> i64 {
        local_micros() + self.clock_offset.load(Ordering::Relaxed)
    }

    /// Reads the clock of the store, and compares this machine's with it for [`Db::now_micros`].
    pub async fn read_clock(&self) -> Result<i64> {
        if let Pools::Postgres(..) = &self.pools {
            let text = "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now";
            let now: i64 = crate::query(text).fetch_one(&mut self.read().await?).await?.get("now")?;
            self.clock_offset.store(now - local_micros(), Ordering::Relaxed);
        }
        Ok(self.now_micros())
    }

    /// Listens for the notifications of [`Db::notify`], also from other processes; `None` on SQLite, which has none, so that
    /// callers must poll.
    pub async fn listen(&self, channel: &str) -> Result<Option<Listener>> {
        match &self.pools {
            Pools::Sqlite { .. } => Ok(None),
            #[cfg(feature = "simulation")]
            Pools::InStep(_) => Ok(None),
            Pools::Postgres(pool, _) => Listener::open(pool, channel).await.map(Some),
        }
    }

    /// Notifies all listeners, also in other processes. Only a hint, which may get lost.
    pub async fn notify(&self, channel: &str) -> Result<()> {
        if let Pools::Postgres(..) = &self.pools {
            let mut tx = self.read().await?;
            crate::query("select cast(pg_notify($1, '') as text) as notified").bind(channel).fetch_one(&mut tx).await?;
        }
        Ok(())
    }

    /// Number of SQL statements so far.
    pub fn statements(&self) -> u64 {
        self.counters.statements.get()
    }

    /// Number of durable commits so far.
    pub fn commits(&self) -> u64 {
        self.counters.commits.get()
    }

    /// Closes the connections; the last one of a SQLite file empties its write-ahead log.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool, _) => pool.close().await,
            #[cfg(feature = "simulation")]
            Pools::InStep(all) => {
                all.readers.close();
                all.writer.close();
            }
        }
    }

    fn tx(&self, inner: Inner) -> Tx {
        let limit = if let Pools::Postgres(_, limit) = &self.pools { *limit } else { Duration::MAX };
        Tx {
            inner,
            limit,
            counters: self.counters.clone(),
            disk_failed: self.disk_failed().cloned(),
            wrote: false,
            #[cfg(feature = "faults")]
            faults: self.faults.clone(),
        }
    }

    /// Whether the last write failed because of the disk, on SQLite.
    fn disk_failed(&self) -> Option<&Arc<AtomicBool>> {
        match &self.pools {
            Pools::Sqlite { disk_failed, .. } => Some(disk_failed),
            Pools::Postgres(..) => None,
            #[cfg(feature = "simulation")]
            Pools::InStep(all) => Some(&all.disk_failed),
        }
    }
}

impl Pools {
    /// `sqlite:PATH?in_step`: the file in step with a simulation.
    #[cfg(feature = "simulation")]
    fn in_step(url: &str, options: &Options) -> Result<Option<Self>> {
        let Some(path) = url.strip_prefix("sqlite:").and_then(|url| url.strip_suffix("?in_step")) else {
            return Ok(None);
        };
        Ok(Some(Self::InStep(Arc::new(in_step::Connections::new(path, options)?))))
    }

    /// Only a build for the simulation has it.
    #[cfg(not(feature = "simulation"))]
    fn in_step(_: &str, _: &Options) -> Result<Option<Self>> {
        Ok(None)
    }
}

fn local_micros() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

fn noting(disk_failed: Option<&AtomicBool>, source: sqlx::Error) -> Error {
    let error = Error::from(source);
    if let (Some(disk_failed), true) = (disk_failed, error.is_of_disk()) {
        disk_failed.store(true, Ordering::Relaxed);
    }
    error
}

fn hide_password(url: &str) -> String {
    match url.split_once("://").zip(url.rsplit_once('@')) {
        Some(((scheme, _), (_, host))) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

/// A connection in use. The functions of a store take it as an argument, so that their signature shows that a write and its
/// event are one transaction.
#[derive(Debug)]
pub struct Tx {
    inner: Inner,
    /// The client-side time-out of a statement.
    pub(crate) limit: Duration,
    pub(crate) counters: Counters,
    /// Where a failure of the disk is noted, on SQLite.
    disk_failed: Option<Arc<AtomicBool>>,
    /// Whether rows were written, so that a commit shows that the disk works.
    pub(crate) wrote: bool,
    #[cfg(feature = "faults")]
    faults: Option<crate::faults::Faults>,
}

#[derive(Debug)]
enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    SqliteRead(PoolConnection<Sqlite>),
    Postgres(Transaction<'static, Postgres>),
    PostgresSnapshot(Transaction<'static, Postgres>),
    PostgresRead(PoolConnection<Postgres>),
    #[cfg(feature = "simulation")]
    InStep(in_step::Lease),
    #[cfg(feature = "simulation")]
    InStepRead(in_step::Lease),
}

/// The connection of either engine.
pub(crate) enum Connection<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
    #[cfg(feature = "simulation")]
    InStep(&'a mut SqliteConnection),
}

impl Tx {
    /// Makes the transaction's writes durable, all or none.
    pub async fn commit(self) -> Result<()> {
        #[cfg(feature = "faults")]
        if let Some(faults) = &self.faults {
            faults.check(crate::faults::Point::Commit)?;
        }
        match self.inner {
            Inner::Sqlite(tx) => {
                tx.commit().await.map_err(|source| noting(self.disk_failed.as_deref(), source))?;
                if let (Some(disk_failed), true) = (&self.disk_failed, self.wrote) {
                    disk_failed.store(false, Ordering::Relaxed);
                }
            }
            #[cfg(feature = "simulation")]
            Inner::InStep(lease) => {
                lease.commit().map_err(|source| noting(self.disk_failed.as_deref(), source))?;
                if let (Some(disk_failed), true) = (&self.disk_failed, self.wrote) {
                    disk_failed.store(false, Ordering::Relaxed);
                }
            }
            #[cfg(feature = "simulation")]
            Inner::InStepRead(_) => return Ok(()),
            Inner::Postgres(tx) => postgres::within(self.limit, tx.commit()).await?,
            Inner::SqliteRead(_) | Inner::PostgresRead(_) | Inner::PostgresSnapshot(_) => return Ok(()),
        }
        self.counters.commits.inc();
        #[cfg(feature = "faults")]
        if let Some(faults) = &self.faults {
            faults.check(crate::faults::Point::Committed)?;
        }
        Ok(())
    }

    /// Locks names until the end of the transaction, waiting for other transactions that hold them. So two replicas do not
    /// decide the same thing at the same time, even if there is no row to lock yet. Sorts the names to avoid deadlocks. Does
    /// nothing on SQLite, which allows one writer at a time anyway.
    ///
    /// A prefix distinguishes the names of different things: `order/ID`.
    pub async fn lock<T: AsRef<str>>(&mut self, names: impl IntoIterator<Item = T>) -> Result<()> {
        if !matches!(self.inner, Inner::Postgres(_)) {
            return Ok(());
        }
        let mut keys: Vec<i64> = names.into_iter().map(|name| lock_key(name.as_ref())).collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(());
        }
        crate::query("select count(*) as n from (select pg_advisory_xact_lock(k) from unnest($1::bigint[]) k) locked")
            .ints(keys)
            .fetch_one(self)
            .await?;
        Ok(())
    }

    /// The error of a statement. A failure of the disk is noted for readiness.
    pub(crate) fn failed(&self, source: sqlx::Error) -> Error {
        noting(self.disk_failed.as_deref(), source)
    }

    pub(crate) fn translate(&self, text: &str) -> String {
        self.engine().translate(text, !matches!(self.inner, Inner::PostgresSnapshot(_) | Inner::PostgresRead(_)))
    }

    pub(crate) fn engine(&self) -> Engine {
        match self.inner {
            Inner::Sqlite(_) | Inner::SqliteRead(_) => Engine::Sqlite,
            #[cfg(feature = "simulation")]
            Inner::InStep(_) | Inner::InStepRead(_) => Engine::Sqlite,
            Inner::Postgres(_) | Inner::PostgresSnapshot(_) | Inner::PostgresRead(_) => Engine::Postgres,
        }
    }

    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match &mut self.inner {
            Inner::Sqlite(tx) => Connection::Sqlite(tx),
            Inner::SqliteRead(connection) => Connection::Sqlite(connection),
            Inner::Postgres(tx) | Inner::PostgresSnapshot(tx) => Connection::Postgres(tx),
            Inner::PostgresRead(connection) => Connection::Postgres(connection),
            #[cfg(feature = "simulation")]
            Inner::InStep(lease) | Inner::InStepRead(lease) => Connection::InStep(lease.connection()),
        }
    }
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every replica and version.
fn lock_key(name: &str) -> i64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        .cast_signed()
}
