//! The data folder of a fleet in one process: its stores, its key, and the address of the running fleet.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use auth::InternalKey;
use chassis::{Secret, config};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::{Service, Settings as _};

/// A fleet that runs on a folder.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    /// The gateway's URL.
    pub gateway: String,
    /// The services' URLs.
    pub services: Value,
}

/// A data folder that this process has to itself.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens a folder, and creates it if it does not exist. A second fleet on the same folder is refused.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot use the data folder {}", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(what)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).with_context(what)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.canonicalize().with_context(what)?, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => {
                bail!("another fleet runs on {}; stop it, or choose another folder with --data", path.display())
            }
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(what),
        }
    }

    /// The URL of a service's own store.
    pub fn store_url(&self, service: &str) -> String {
        store_url(&self.path, service)
    }

    /// The URL of the event bus.
    pub fn bus_url(&self) -> String {
        bus_url(&self.path)
    }

    /// The fleet's own key, made at the first start.
    pub fn internal_key(&self) -> anyhow::Result<Secret> {
        let path = self.path.join("internal.key");
        if !path.exists() {
            let key = InternalKey::generate()?.to_secret();
            write_private(&path, key.expose().as_bytes())?;
        }
        read_key(&self.path)
    }

    /// Which sample data the folder holds.
    pub fn sample(&self) -> Option<String> {
        fs::read_to_string(self.path.join("sample")).ok().map(|name| name.trim().to_owned())
    }

    /// Notes which sample data was loaded.
    pub fn set_sample(&self, name: &str) -> anyhow::Result<()> {
        write_private(&self.path.join("sample"), name.as_bytes())
    }

    /// Records the fleet's address for other commands.
    pub fn announce(&self, running: &Running) -> anyhow::Result<()> {
        write_private(&self.path.join("fleet.json"), &serde_json::to_vec(running)?)
    }

    /// Removes the recorded address.
    pub fn withdraw(&self) {
        // If it stays, the next command finds no fleet there and reports that.
        let _ = fs::remove_file(self.path.join("fleet.json"));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The URL of a service's store: a file of the folder, unless `SOUK_<SERVICE>_DATABASE_URL` or the folder's `stores.json` names
/// another place.
pub fn store_url(folder: &Path, service: &str) -> String {
    config::var(&format!("SOUK_{}_DATABASE_URL", service.to_ascii_uppercase()))
        .or_else(|| elsewhere(folder, service))
        .unwrap_or_else(|| format!("sqlite:{}", folder.join(format!("{service}.db")).display()))
}

/// The default settings of a service, with its store.
pub fn config<S: Service>(folder: &Path) -> S::Config {
    let mut config = S::Config::default();
    config.common().database_url = store_url(folder, S::NAME);
    config
}

/// The URL of the event bus: a file of the folder, unless `SOUK_BUS_URL` or the folder's `stores.json` names another place.
pub fn bus_url(folder: &Path) -> String {
    config::var("SOUK_BUS_URL")
        .or_else(|| elsewhere(folder, "bus"))
        .unwrap_or_else(|| format!("embedded:{}", folder.join("bus.db").display()))
}

/// What `stores.json` (`{"order": "postgres://…", "bus": "kafka://…"}`) says of one store.
fn elsewhere(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read(folder.join("stores.json")).ok()?;
    let urls: BTreeMap<String, String> = serde_json::from_slice(&text).ok()?;
    urls.get(name).cloned()
}

/// The fleet's own key: `SOUK_INTERNAL_KEY`, as its services have it, or the one in a folder.
pub fn read_key(folder: &Path) -> anyhow::Result<Secret> {
    if let Some(key) = config::var("SOUK_INTERNAL_KEY") {
        return Ok(Secret::new(key));
    }
    let path = folder.join("internal.key");
    let key = fs::read_to_string(&path)
        .with_context(|| format!("no fleet has run on {}; start one with `souk up`", folder.display()))?;
    Ok(Secret::new(key))
}

/// The fleet that runs on a folder.
pub fn running(folder: &Path) -> anyhow::Result<Running> {
    let path = folder.join("fleet.json");
    let text = fs::read(&path).with_context(|| {
        format!(
            "no fleet runs on {}; start one with `souk up`, or name another with --data or --gateway",
            folder.display()
        )
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged; start the fleet again", path.display()))
}

/// Writes a file that only its owner reads: whole, or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", path.display());
    let part = path.with_extension("part");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part).with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.sync_all().with_context(what)?;
    fs::rename(&part, path).with_context(what)
}

/// Whether a fleet runs on the folder's stores: it has the lock, or, where they are elsewhere, has said so.
pub fn is_running(folder: &Path) -> bool {
    if folder.join("stores.json").exists() && folder.join("fleet.json").exists() {
        return true;
    }
    let Ok(lock) = OpenOptions::new().write(true).open(folder.join("lock")) else {
        return false;
    };
    matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock))
}
