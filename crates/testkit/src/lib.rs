//! Support for tests: a new database for each, free ports, and services under test. Not part of any release.
//!
//! A test that calls [`store()`] runs on SQLite, or, when `SOUK_TEST_STORES=postgres` is set, on the server that
//! `SOUK_TEST_POSTGRES_URL` names: `./test` runs the suites of the stores once for each.

#[cfg(feature = "service")]
mod service;

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use chassis::config::var;
use db::{Db, Options, query};

#[cfg(feature = "service")]
pub use service::{Identity, TestService, serve_routes, with_token};

/// A database of one test.
#[derive(Debug)]
pub struct Store {
    /// Its URL.
    pub url: String,
    /// A temporary folder, deleted when this is dropped.
    pub folder: tempfile::TempDir,
}

impl Store {
    /// Opens the database and migrates it.
    pub async fn open(&self, steps: &[db::Migration]) -> Result<Db> {
        let db = Db::open(&self.url, &Options::default(), None).await?;
        db.migrate(steps).await?;
        Ok(db)
    }
}

/// Creates a database of the engine that `SOUK_TEST_STORES` selects.
pub async fn store() -> Result<Store> {
    let folder = tempfile::tempdir()?;
    let url = url(&folder, "store").await?;
    Ok(Store { url, folder })
}

/// The URL of a new database of the engine that `SOUK_TEST_STORES` selects. An SQLite file is created in `folder`.
pub async fn url(folder: &tempfile::TempDir, name: &str) -> Result<String> {
    match var("SOUK_TEST_STORES").as_deref() {
        None | Some("sqlite") => Ok(format!("sqlite:{}", folder.path().join(format!("{name}.db")).display())),
        Some("postgres") => {
            let server =
                var("SOUK_TEST_POSTGRES_URL").context("SOUK_TEST_STORES=postgres requires SOUK_TEST_POSTGRES_URL")?;
            database(&server, name).await
        }
        Some("mongodb") => Ok(mongodb(&server("SOUK_TEST_MONGODB_URL"), name)),
        Some(other) => bail!("SOUK_TEST_STORES={other}: must be sqlite, postgres or mongodb"),
    }
}

/// The server, program or file in an environment variable. Tests that need one are ignored by default, so a run that includes
/// them must set the variable.
///
/// # Panics
/// If the variable is not set.
pub fn server(variable: &str) -> String {
    var(variable).unwrap_or_else(|| panic!("this test needs {variable}, which is not set; ./test sets it"))
}

/// The URL of a new database on a MongoDB server (`mongodb://HOST/?…`); the first write creates it.
pub fn mongodb(server: &str, name: &str) -> String {
    let (address, query) = server.split_once('?').unwrap_or((server, ""));
    format!("{}/{name}_{}?{query}", address.trim_end_matches('/'), uuid::Uuid::now_v7().simple())
}

/// Creates a database on a Postgres server (`postgres://USER@HOST`); returns its URL.
pub async fn database(server: &str, name: &str) -> Result<String> {
    let server = server.trim_end_matches('/');
    let fresh = format!("{name}_{}", uuid::Uuid::now_v7().simple());
    let admin = Db::open(&format!("{server}/postgres"), &Options::default(), None).await?;
    let mut tx = admin.read().await?;
    query(format!("create database {fresh}")).execute(&mut tx).await.context("cannot create a database")?;
    drop(tx);
    admin.close().await;
    // Few connections per database, since many tests share the server.
    Ok(format!("{server}/{fresh}?pool=6"))
}

/// Ports are assigned in turn from a random start. Eleven random ports for a fleet would sometimes collide, since nothing
/// listens on them yet.
static NEXT_PORT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(uuid::Uuid::new_v4().as_u128() as u16));

/// Number of ports per test process; nextest runs several at the same time and numbers them.
const RANGE: u16 = 1_000;
static FIRST_PORT: LazyLock<u16> = LazyLock::new(|| {
    let slot: u16 = var("NEXTEST_TEST_GLOBAL_SLOT").and_then(|slot| slot.parse().ok()).unwrap_or(0);
    15_000 + slot % 15 * RANGE
});

/// A free port on 127.0.0.1, below the ephemeral ports, so that it is still free when a killed process starts again.
pub fn free_port() -> Result<u16> {
    (0..RANGE)
        .map(|_| *FIRST_PORT + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % RANGE)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no port is free")
}
