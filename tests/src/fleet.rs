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

/// Time-out of a start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running fleet. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    deployment: Deployment,
    data: PathBuf,
    env: Vec<(String, String)>,
    /// The ready line: URLs, tokens and, at the first start, passwords.
    pub ready: Value,
}

#[derive(Debug)]
enum Deployment {
    SingleProcess { child: Child, stderr: Arc<Mutex<String>> },
    SeparateProcesses(Box<Processes>),
}

/// Whether this run tests separate processes on servers.
pub fn on_servers() -> bool {
    std::env::var("SOUK_TEST_FLEET").is_ok_and(|fleet| fleet == "servers")
}

/// The path of a program in the folder of the test binary's profile.
pub(crate) fn program_path(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.ancestors().nth(2).context("the test runs outside target/<profile>/deps")?.join(name);
    if !path.exists() {
        bail!("{} does not exist; build it with `cargo build --workspace --bins`", path.display());
    }
    Ok(path)
}

/// Removes this process's own settings from the environment of a command.
pub(crate) fn clear_env(command: &mut Command) {
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

/// A command that runs the `souk` binary under test, without this process's own settings.
pub(crate) fn souk_command() -> Result<Command> {
    let path = match std::env::var_os("SOUK_BIN") {
        Some(path) => PathBuf::from(path),
        None => program_path("souk")?,
    };
    let mut command = Command::new(path);
    clear_env(&mut command);
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

impl Fleet {
    /// Starts a fleet on a data folder, on free ports, and waits until it is ready.
    pub async fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, &[]).await
    }

    /// Starts a fleet with settings in its environment.
    pub async fn start_with(data: &Path, env: &[(&str, &str)]) -> Result<Self> {
        if on_servers() { Self::start_processes(data, env).await } else { Self::embedded(data, env).await }
    }

    /// Starts a fleet with a dialect, its sample data, and the fixed ports of its clients.
    pub async fn dialect(data: &Path, name: &str, env: &[(&str, &str)]) -> Result<Self> {
        let own = [("SOUK_DIALECT", name), ("SOUK_GATEWAY_DIALECTS", name), ("SOUK_SAMPLE", name)];
        Self::start_with(data, &[&own, env].concat()).await
    }

    /// Starts a single process on embedded stores, whether or not this run tests servers.
    pub async fn embedded(data: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let mut child = souk_command()?
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
        let log = || stderr.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = match timeout(START_TIMEOUT, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(other) => bail!("the fleet exited before it was ready: {other:?}\n{}", log()),
            Err(_) => bail!("the fleet is not ready after {START_TIMEOUT:?}\n{}", log()),
        };
        let ready = serde_json::from_str(&line).with_context(|| format!("the ready line is not JSON: {line}"))?;
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Self { deployment: Deployment::SingleProcess { child, stderr }, data: data.to_owned(), env, ready })
    }

    async fn start_processes(data: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let servers = Servers::from_env()?;
        let saved = Stores::load(data)?;
        // A folder that already has stores keeps them: this is a restart.
        let stores = if saved.0.is_empty() { servers.create_stores().await? } else { saved };
        // Leases expire sooner than in production, so that tests wait less for the leases of a killed process.
        let short_lease = [("SOUK_ORDER_LEASE_SECONDS", "2")];
        let processes = Processes::start(data, stores, &[&short_lease, env].concat(), &[]).await?;
        let mut tokens = serde_json::Map::new();
        // The sample data of a dialect has an admin, but not the other users.
        let default_sample = env.iter().all(|(name, _)| *name != "SOUK_SAMPLE");
        for user in ["admin", "manager", "customer"].into_iter().take(if default_sample { 3 } else { 1 }) {
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
        Ok(Self { deployment: Deployment::SeparateProcesses(Box::new(processes)), data: data.to_owned(), env, ready })
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The settings from the start.
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

    /// Requests a new admin token, for a test in which a login of the admin has revoked the previous one.
    pub async fn renew_admin_token(&mut self) -> Result<()> {
        let args = [OsStr::new("token"), OsStr::new("admin"), OsStr::new("--data"), self.data.as_os_str()];
        self.ready["tokens"]["admin"] = souk_text(args).await?.trim().into();
        Ok(())
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Client {
        Client::new(self.gateway(), None)
    }

    /// The log so far.
    pub fn log(&self) -> String {
        match &self.deployment {
            Deployment::SingleProcess { stderr, .. } => stderr.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Deployment::SeparateProcesses(processes) => processes.log(),
        }
    }

    /// The resident memory of the fleet in MiB. Only for a single process, on Linux.
    pub fn memory(&self) -> Result<u64> {
        let Deployment::SingleProcess { child, .. } = &self.deployment else {
            bail!("the memory of separate processes is not added up")
        };
        let pid = child.id().context("the process has exited already")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024)
    }

    /// Stops the fleet with SIGTERM and waits until it has exited with success.
    pub async fn terminate(mut self) -> Result<()> {
        let pid = match &mut self.deployment {
            Deployment::SeparateProcesses(processes) => return processes.terminate().await,
            Deployment::SingleProcess { child, .. } => child.id().context("the process has exited already")?,
        };
        let sent = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        anyhow::ensure!(sent.success(), "kill -TERM {pid}: {sent}");
        let status = self.wait_for_exit(Duration::from_secs(20)).await?;
        anyhow::ensure!(status.success(), "after SIGTERM the fleet exited with {status}\n{}", self.log());
        Ok(())
    }

    /// Kills the fleet with SIGKILL.
    pub async fn kill(mut self) -> Result<()> {
        match &mut self.deployment {
            Deployment::SingleProcess { child, .. } => child.kill().await?,
            Deployment::SeparateProcesses(processes) => {
                processes.unregister();
                for service in crate::SERVICES {
                    processes.kill(service, 0).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until the fleet exits by itself. Only for a single process.
    pub async fn wait_for_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Deployment::SingleProcess { child, .. } = &mut self.deployment else {
            bail!("waiting for the exit is not implemented for separate processes")
        };
        match timeout(limit, child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the fleet is still running after {limit:?}"),
        }
    }
}
