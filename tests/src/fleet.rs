//! A fleet that runs as a child process.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::Client;

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// A fleet that runs; killed (it alone) when dropped.
#[derive(Debug)]
pub struct Fleet {
    child: Child,
    data: PathBuf,
    env: Vec<(String, String)>,
    /// The line that it printed when it was ready.
    pub ready: Value,
    stderr: Arc<Mutex<String>>,
}

/// A command of the binary under test, free of this process's own settings.
pub(crate) fn command() -> Result<Command> {
    let path = match std::env::var_os("SOUK_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe()?;
            let profile = own.ancestors().nth(2).context("the test runs outside target/<profile>/deps")?;
            profile.join("souk")
        }
    };
    if !path.exists() {
        bail!("{} is not there; build it with `cargo build -p souk`, or name another with SOUK_BIN", path.display());
    }
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SOUK_")
            || text.starts_with("OTEL_")
            || ["RUST_LOG", "PORT", "DATABASE_URL"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

impl Fleet {
    /// Starts one on a data folder, on free ports, and waits until it is ready.
    pub async fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, &[]).await
    }

    /// The same, with settings in its environment.
    pub async fn start_with(data: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let mut child = command()?
            .args(["up", "--json", "--port-base", "0", "--data"])
            .arg(data)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut err = child.stderr.take().context("no stderr")?;
        let kept = Arc::clone(&stderr);
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while let Ok(count @ 1..) = err.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let told = || stderr.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = match timeout(START, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(other) => bail!("the fleet ended before it was ready: {other:?}\n{}", told()),
            Err(_) => bail!("the fleet is not ready after {START:?}\n{}", told()),
        };
        let ready = serde_json::from_str(&line).with_context(|| format!("the ready line is no JSON: {line}"))?;
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Self { child, data: data.to_owned(), env, ready, stderr })
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The settings that it was started with.
    pub(crate) fn env(&self) -> Vec<(&str, &str)> {
        self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The gateway's URL.
    pub fn gateway(&self) -> &str {
        self.ready["gateway"].as_str().unwrap_or_default()
    }

    /// The URL of a gRPC port: stock or payment.
    pub fn grpc(&self, service: &str) -> String {
        self.ready["grpc"][service].as_str().unwrap_or_default().to_owned()
    }

    /// A client with the token of a sample user: admin, manager or customer.
    pub fn client(&self, user: &str) -> Client {
        Client::new(self.gateway(), self.ready["tokens"][user].as_str())
    }

    /// A client without a token.
    pub fn nobody(&self) -> Client {
        Client::new(self.gateway(), None)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks it to stop (SIGTERM) and waits for its clean end.
    pub async fn terminate(mut self) -> Result<()> {
        let pid = self.child.id().context("it has ended already")?;
        let sent = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        anyhow::ensure!(sent.success(), "kill -TERM {pid}: {sent}");
        let status = self.death(Duration::from_secs(20)).await?;
        anyhow::ensure!(status.success(), "SIGTERM ended it with {status}\n{}", self.log());
        Ok(())
    }

    /// Kills it (SIGKILL), as a power cut would.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Waits until it dies by itself.
    pub async fn death(&mut self, patience: Duration) -> Result<ExitStatus> {
        match timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("it still runs after {patience:?}"),
        }
    }
}
