//! A fleet under test: `souk up` as one child process on embedded stores; or, when `SOUK_TEST_FLEET=servers` is set,
//! seven processes on the servers that the environment names.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{Client, Processes, Servers, Stores, souk_text};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// A fleet that runs; killed (it alone) when dropped.
#[derive(Debug)]
pub struct Fleet {
    kind: Kind,
    data: PathBuf,
    env: Vec<(String, String)>,
    /// What it tells when it is ready: URLs, tokens and, at the first start, passwords.
    pub ready: Value,
}

#[derive(Debug)]
enum Kind {
    One { child: Child, stderr: Arc<Mutex<String>> },
    Seven(Box<Processes>),
}

/// Whether this run is about processes on servers.
pub fn on_servers() -> bool {
    std::env::var("SOUK_TEST_FLEET").is_ok_and(|fleet| fleet == "servers")
}

/// The program of that name, beside the test's own.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.ancestors().nth(2).context("the test runs outside target/<profile>/deps")?.join(name);
    if !path.exists() {
        bail!("{} is not there; build it with `cargo build --workspace --bins`", path.display());
    }
    Ok(path)
}

/// Frees a command of this process's own settings.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SOUK_")
            || text.starts_with("OTEL_")
            || ["RUST_LOG", "PORT", "DATABASE_URL"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
}

/// A command of the binary under test, free of this process's own settings.
pub(crate) fn command() -> Result<Command> {
    let path = match std::env::var_os("SOUK_BIN") {
        Some(path) => PathBuf::from(path),
        None => program("souk")?,
    };
    let mut command = Command::new(path);
    clean(&mut command);
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
        if on_servers() { Self::start_seven(data, env).await } else { Self::embedded(data, env).await }
    }

    /// Starts one that opens a dialect, with its sample data, on the ports that its clients know.
    pub async fn dialect(data: &Path, name: &str, env: &[(&str, &str)]) -> Result<Self> {
        let own = [("SOUK_DIALECT", name), ("SOUK_GATEWAY_DIALECTS", name), ("SOUK_SAMPLE", name)];
        Self::start_with(data, &[&own, env].concat()).await
    }

    /// One process on embedded stores, whatever this run is about.
    pub async fn embedded(data: &Path, env: &[(&str, &str)]) -> Result<Self> {
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
        Ok(Self { kind: Kind::One { child, stderr }, data: data.to_owned(), env, ready })
    }

    async fn start_seven(data: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let servers = Servers::given()?;
        let known = Stores::of(data)?;
        // A folder that has stores keeps them: it is a restart.
        let stores = if known.0.is_empty() { servers.stores().await? } else { known };
        // A dead process's leases run out sooner than in a shop, so that tests need not wait for them.
        let quick = [("SOUK_ORDER_LEASE_SECONDS", "2")];
        let processes = Processes::start(data, stores, &[&quick, env].concat(), &[]).await?;
        let mut tokens = serde_json::Map::new();
        // Sets of dialects have an admin, and others of their own.
        let own_set = env.iter().all(|(name, _)| *name != "SOUK_SAMPLE");
        for user in ["admin", "manager", "customer"].into_iter().take(if own_set { 3 } else { 1 }) {
            let token =
                souk_text([OsStr::new("token"), OsStr::new(user), OsStr::new("--data"), data.as_os_str()]).await?;
            tokens.insert(user.to_owned(), token.trim().into());
        }
        let services: serde_json::Map<String, Value> =
            crate::SERVICES.iter().map(|name| ((*name).to_owned(), processes.url(name).into())).collect();
        let passwords = if processes.passwords == json!({}) { Value::Null } else { processes.passwords.clone() };
        let ready = json!({
            "gateway": processes.url("gateway"),
            "services": services,
            "grpc": {"stock": processes.url("stock grpc"), "payment": processes.url("payment grpc")},
            "tokens": tokens,
            "passwords": passwords,
        });
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Self { kind: Kind::Seven(Box::new(processes)), data: data.to_owned(), env, ready })
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

    /// Takes a new token for the admin, where a login of his ended the one from the start.
    pub async fn sign_in_again(&mut self) -> Result<()> {
        let args = [OsStr::new("token"), OsStr::new("admin"), OsStr::new("--data"), self.data.as_os_str()];
        self.ready["tokens"]["admin"] = souk_text(args).await?.trim().into();
        Ok(())
    }

    /// A client without a token.
    pub fn nobody(&self) -> Client {
        Client::new(self.gateway(), None)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        match &self.kind {
            Kind::One { stderr, .. } => stderr.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Kind::Seven(processes) => processes.log(),
        }
    }

    /// Asks it to stop (SIGTERM) and waits for its clean end.
    pub async fn terminate(mut self) -> Result<()> {
        let pid = match &mut self.kind {
            Kind::Seven(processes) => return processes.terminate().await,
            Kind::One { child, .. } => child.id().context("it has ended already")?,
        };
        let sent = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        anyhow::ensure!(sent.success(), "kill -TERM {pid}: {sent}");
        let status = self.death(Duration::from_secs(20)).await?;
        anyhow::ensure!(status.success(), "SIGTERM ended it with {status}\n{}", self.log());
        Ok(())
    }

    /// Kills it (SIGKILL), as a power cut would.
    pub async fn kill(mut self) -> Result<()> {
        match &mut self.kind {
            Kind::One { child, .. } => child.kill().await?,
            Kind::Seven(processes) => {
                processes.withdraw();
                for service in crate::SERVICES {
                    processes.kill(service, 0).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until it dies by itself; one process only.
    pub async fn death(&mut self, patience: Duration) -> Result<ExitStatus> {
        let Kind::One { child, .. } = &mut self.kind else { bail!("seven processes do not die as one") };
        match timeout(patience, child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("it still runs after {patience:?}"),
        }
    }
}
