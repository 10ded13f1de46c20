//! The database and message servers of a fleet: those given in the environment, or started by the scripts in `tests/env/servers`.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// A server that a script in `tests/env/servers` has started. It is stopped when dropped, so that it also ends with a failed test.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    folder: PathBuf,
    /// Whether the server has been started and not stopped since.
    started: AtomicBool,
    /// Its URL.
    pub url: String,
}

impl Server {
    /// Starts a server of this kind only for the current test.
    pub async fn start(name: &'static str, folder: &Path) -> Result<Self> {
        let mut server = Self { name, folder: folder.join(name), started: AtomicBool::new(false), url: String::new() };
        server.url = server.run().await?;
        Ok(server)
    }

    /// Stops the server; `restart` starts it again.
    pub async fn stop(&self) -> Result<()> {
        run_script(self.name, "stop", &self.folder).await?;
        self.started.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Starts the server again, on the same port and with its data.
    pub async fn restart(&self) -> Result<()> {
        self.run().await.map(drop)
    }

    async fn run(&self) -> Result<String> {
        // A failed start may leave a process running.
        self.started.store(true, Ordering::Relaxed);
        run_script(self.name, "start", &self.folder).await
    }
}

impl Drop for Server {
    /// Waits until the server has stopped, since its folder is deleted next.
    fn drop(&mut self) {
        if !self.started.load(Ordering::Relaxed) {
            return;
        }
        let output = std::process::Command::new(script_path(self.name)).arg("stop").arg(&self.folder).output();
        // `drop` cannot return an error, so it prints the folder of a server that is still running.
        if !output.as_ref().is_ok_and(|output| output.status.success()) {
            let _ =
                writeln!(std::io::stderr(), "{} in {} has not stopped: {output:?}", self.name, self.folder.display());
        }
    }
}

fn script_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("env/servers").join(name)
}

async fn run_script(name: &str, action: &str, folder: &Path) -> Result<String> {
    let path = script_path(name);
    let output =
        Command::new(&path).arg(action).arg(folder).output().await.with_context(|| path.display().to_string())?;
    if !output.status.success() {
        bail!("{} {action}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The servers that hold the stores and the bus of a fleet.
#[derive(Debug, Clone)]
pub struct Servers {
    /// `postgres://USER@HOST:PORT`.
    pub postgres: String,
    /// `mongodb://HOST:PORT/?…`.
    pub mongodb: String,
    /// `kafka://HOST:PORT`.
    pub kafka: String,
}

/// The program, file or folder in an environment variable.
pub fn path_from_env(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    path.map(PathBuf::from).with_context(|| format!("this test needs {variable}, which is not set; ./test sets it"))
}

impl Servers {
    /// Reads `SOUK_TEST_POSTGRES_URL`, `…_MONGODB_URL` and `…_KAFKA_URL`.
    pub fn from_env() -> Result<Self> {
        let url =
            |name: &str| Ok::<_, anyhow::Error>(path_from_env(&format!("SOUK_TEST_{name}_URL"))?.display().to_string());
        Ok(Self { postgres: url("POSTGRES")?, mongodb: url("MONGODB")?, kafka: url("KAFKA")? })
    }

    /// Creates the stores of one fleet: a database for each service, and a topic prefix.
    pub async fn create_stores(&self) -> Result<Stores> {
        let mut urls = BTreeMap::new();
        for name in ["product", "order", "stock", "payment", "notification"] {
            urls.insert(name.to_owned(), testkit::database(&self.postgres, name).await?);
        }
        let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
        let (host, query) = self.mongodb.split_once("/?").unwrap_or((self.mongodb.trim_end_matches('/'), ""));
        urls.insert("customer".to_owned(), format!("{host}/{prefix}?{query}"));
        let separator = if self.kafka.contains('?') { '&' } else { '?' };
        urls.insert(
            "bus".to_owned(),
            format!(
                "{}{separator}topic_prefix={prefix}.&partitions=3&replication=1&session.timeout.ms=6000",
                self.kafka
            ),
        );
        Ok(Stores(urls))
    }
}

/// The URLs of a fleet's stores and bus, by name. A store without a URL is a file in the data folder.
#[derive(Debug, Clone, Default)]
pub struct Stores(pub BTreeMap<String, String>);

impl Stores {
    /// All stores are files in the data folder.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// Saves the URLs in a data folder, unless it has some already.
    pub fn save(&self, data: &Path) -> Result<()> {
        let path = data.join("stores.json");
        if !self.0.is_empty() && !path.exists() {
            std::fs::write(path, serde_json::to_vec(&self.0)?)?;
        }
        Ok(())
    }

    /// Reads the URLs saved in a data folder.
    pub fn load(data: &Path) -> Result<Self> {
        match std::fs::read(data.join("stores.json")) {
            Ok(text) => Ok(Self(serde_json::from_slice(&text)?)),
            Err(_) => Ok(Self::default()),
        }
    }

    /// The URL of one store, or of the bus.
    pub fn url(&self, data: &Path, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| {
            let scheme = if name == "bus" { "embedded" } else { "sqlite" };
            format!("{scheme}:{}", data.join(format!("{name}.db")).display())
        })
    }
}
