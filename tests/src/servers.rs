//! The servers under a fleet: those that the environment names, or those that the scripts of `tests/env/servers` start.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// A server that a script of `tests/env/servers` started. Who drops it stops it, so that a test which fails leaves none behind.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    folder: PathBuf,
    /// Whether it has been started, and not stopped since.
    started: AtomicBool,
    /// Where it is.
    pub url: String,
}

impl Server {
    /// Starts a server of this kind for this test alone.
    pub async fn start(name: &'static str, folder: &Path) -> Result<Self> {
        let mut server = Self { name, folder: folder.join(name), started: AtomicBool::new(false), url: String::new() };
        server.url = server.run().await?;
        Ok(server)
    }

    /// Stops it, for a while: `again` starts it.
    pub async fn stop(&self) -> Result<()> {
        script(self.name, "stop", &self.folder).await?;
        self.started.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Starts it again, on its port and with its data.
    pub async fn again(&self) -> Result<()> {
        self.run().await.map(drop)
    }

    async fn run(&self) -> Result<String> {
        // A start that fails may leave a process behind.
        self.started.store(true, Ordering::Relaxed);
        script(self.name, "start", &self.folder).await
    }
}

impl Drop for Server {
    /// Waits for the end: the folder is taken away next.
    fn drop(&mut self) {
        if !self.started.load(Ordering::Relaxed) {
            return;
        }
        let done = std::process::Command::new(path(self.name)).arg("stop").arg(&self.folder).output();
        // A drop can fail nothing; whoever looks for a process that is left finds its folder here.
        if !done.as_ref().is_ok_and(|done| done.status.success()) {
            let _ = writeln!(std::io::stderr(), "{} in {} is not stopped: {done:?}", self.name, self.folder.display());
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("env/servers").join(name)
}

async fn script(name: &str, action: &str, folder: &Path) -> Result<String> {
    let path = path(name);
    let done =
        Command::new(&path).arg(action).arg(folder).output().await.with_context(|| path.display().to_string())?;
    if !done.status.success() {
        bail!("{} {action}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

/// The servers that stores and bus of a fleet are on.
#[derive(Debug, Clone)]
pub struct Servers {
    /// `postgres://USER@HOST:PORT`.
    pub postgres: String,
    /// `mongodb://HOST:PORT/?…`.
    pub mongodb: String,
    /// `kafka://HOST:PORT`.
    pub kafka: String,
}

/// The program, file or folder that a variable of the environment names.
pub fn given(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    path.map(PathBuf::from).with_context(|| format!("this test needs {variable}, which is not set; ./test sets it"))
}

impl Servers {
    /// Those that the environment names (`SOUK_TEST_POSTGRES_URL`, `…_MONGODB_URL`, `…_KAFKA_URL`).
    pub fn given() -> Result<Self> {
        let url = |name: &str| Ok::<_, anyhow::Error>(given(&format!("SOUK_TEST_{name}_URL"))?.display().to_string());
        Ok(Self { postgres: url("POSTGRES")?, mongodb: url("MONGODB")?, kafka: url("KAFKA")? })
    }

    /// Stores for one fleet: a database each, topics of its own.
    pub async fn stores(&self) -> Result<Stores> {
        let mut urls = BTreeMap::new();
        for name in ["product", "order", "stock", "payment", "notification"] {
            urls.insert(name.to_owned(), testkit::database(&self.postgres, name).await?);
        }
        let own = format!("t{}", uuid::Uuid::now_v7().simple());
        let (host, query) = self.mongodb.split_once("/?").unwrap_or((self.mongodb.trim_end_matches('/'), ""));
        urls.insert("customer".to_owned(), format!("{host}/{own}?{query}"));
        let glue = if self.kafka.contains('?') { '&' } else { '?' };
        urls.insert(
            "bus".to_owned(),
            format!("{}{glue}topic_prefix={own}.&partitions=3&replication=1&session.timeout.ms=6000", self.kafka),
        );
        Ok(Stores(urls))
    }
}

/// Where a fleet's stores and bus are, by name; those that are not named are files of its data folder.
#[derive(Debug, Clone, Default)]
pub struct Stores(pub BTreeMap<String, String>);

impl Stores {
    /// Files.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// Writes them down in a data folder, unless it has its own already.
    pub fn note(&self, data: &Path) -> Result<()> {
        let path = data.join("stores.json");
        if !self.0.is_empty() && !path.exists() {
            std::fs::write(path, serde_json::to_vec(&self.0)?)?;
        }
        Ok(())
    }

    /// Those of a data folder.
    pub fn of(data: &Path) -> Result<Self> {
        match std::fs::read(data.join("stores.json")) {
            Ok(text) => Ok(Self(serde_json::from_slice(&text)?)),
            Err(_) => Ok(Self::default()),
        }
    }

    /// The URL of one.
    pub fn url(&self, data: &Path, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| {
            let scheme = if name == "bus" { "embedded" } else { "sqlite" };
            format!("{scheme}:{}", data.join(format!("{name}.db")).display())
        })
    }
}
