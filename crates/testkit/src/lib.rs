//! Databases for tests, a fresh one each; and ports. Never in a release.
//!
//! A test that asks for [`store()`] runs on SQLite, or, when `SOUK_TEST_STORES=postgres` is set, on the server that
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
pub use service::{Identity, TestService};

/// A database that nobody else uses.
#[derive(Debug)]
pub struct Store {
    /// Where it is.
    pub url: String,
    /// A folder of its own, gone with it.
    pub folder: tempfile::TempDir,
}

impl Store {
    /// Opens it, with these tables.
    pub async fn open(&self, steps: &[db::Migration]) -> Result<Db> {
        let db = Db::open(&self.url, &Options::default(), None).await?;
        db.migrate(steps).await?;
        Ok(db)
    }
}

/// A fresh database of the kind that this run is about.
pub async fn store() -> Result<Store> {
    let folder = tempfile::tempdir()?;
    let url = url(&folder, "store").await?;
    Ok(Store { url, folder })
}

/// The URL of a fresh database of the kind that this run is about; a file is named after `name` in the folder.
pub async fn url(folder: &tempfile::TempDir, name: &str) -> Result<String> {
    match var("SOUK_TEST_STORES").as_deref() {
        None | Some("sqlite") => Ok(format!("sqlite:{}", folder.path().join(format!("{name}.db")).display())),
        Some("postgres") => {
            let server =
                var("SOUK_TEST_POSTGRES_URL").context("SOUK_TEST_STORES=postgres wants SOUK_TEST_POSTGRES_URL")?;
            database(&server, name).await
        }
        Some("mongodb") => Ok(mongodb(&server("SOUK_TEST_MONGODB_URL"), name)),
        Some(other) => bail!("SOUK_TEST_STORES={other}: there are sqlite, postgres and mongodb"),
    }
}

/// The server, program or file that a variable of the environment names. Tests that ask for one are ignored unless they are asked for,
/// so a missing name is a mistake of the caller.
///
/// # Panics
/// If the variable is not set.
pub fn server(variable: &str) -> String {
    var(variable).unwrap_or_else(|| panic!("this test needs {variable}, which is not set; ./test sets it"))
}

/// A database that nothing else uses on a MongoDB server (`mongodb://HOST/?…`); the first write creates it.
pub fn mongodb(server: &str, name: &str) -> String {
    let (address, query) = server.split_once('?').unwrap_or((server, ""));
    format!("{}/{name}_{}?{query}", address.trim_end_matches('/'), uuid::Uuid::now_v7().simple())
}

/// Makes a database on a Postgres server (`postgres://USER@HOST`); gives its URL.
pub async fn database(server: &str, name: &str) -> Result<String> {
    let server = server.trim_end_matches('/');
    let fresh = format!("{name}_{}", uuid::Uuid::now_v7().simple());
    let admin = Db::open(&format!("{server}/postgres"), &Options::default(), None).await?;
    let mut tx = admin.read().await?;
    query(format!("create database {fresh}")).execute(&mut tx).await.context("cannot make a database")?;
    drop(tx);
    admin.close().await;
    // Few connections each: many tests share the server.
    Ok(format!("{server}/{fresh}?pool=6"))
}

/// Ports are given in turn, from a random one on: of eleven drawn at random for a fleet two would now and then be the same,
/// since nothing listens on them yet.
static NEXT_PORT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(uuid::Uuid::new_v4().as_u128() as u16));

/// Ports of one test process; nextest runs several at the same time and numbers them.
const RANGE: u16 = 1_000;
static FIRST_PORT: LazyLock<u16> = LazyLock::new(|| {
    let slot: u16 = var("NEXTEST_TEST_GLOBAL_SLOT").and_then(|slot| slot.parse().ok()).unwrap_or(0);
    15_000 + slot % 15 * RANGE
});

/// A port that is free on 127.0.0.1, below those of outgoing connections, so that a process that is killed finds it free again.
pub fn free_port() -> Result<u16> {
    (0..RANGE)
        .map(|_| *FIRST_PORT + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % RANGE)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no port is free")
}
