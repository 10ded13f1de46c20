//! Runs each service as a separate process, with one or several replicas. The processes know each other only by URL.

use std::{
    collections::BTreeMap,
    fs::File,
    iter,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    Client, Stores,
    audit::souk_at,
    eventually,
    fleet::{clear_env, program_path},
    souk, souk_text,
    tcp_proxy::TcpProxy,
};

/// The services.
pub const SERVICES: [&str; 7] = ["customer", "product", "order", "stock", "payment", "notification", "gateway"];

/// A fleet of separate processes. All are killed when it is dropped.
#[derive(Debug)]
pub struct Processes {
    data: PathBuf,
    stores: Stores,
    env: Vec<(String, String)>,
    key: String,
    /// The folder of the programs to start, if it is not the folder of the test binary.
    programs: Option<PathBuf>,
    /// One proxy for each port of each service.
    proxies: Vec<TcpProxy>,
    /// The URLs that clients and other services call: those of the proxies, unless [`Self::override_url`] replaced them.
    urls: BTreeMap<String, String>,
    replicas: BTreeMap<(&'static str, usize), Replica>,
    /// The passwords of the sample users, if this start created them.
    pub passwords: Value,
}

#[derive(Debug)]
struct Replica {
    port: u16,
    grpc: Option<u16>,
    child: Option<Child>,
}

impl Processes {
    /// Starts replicas of each service and waits until all are ready. The data folder holds the URLs of the stores, the sample
    /// data and the logs. `env` is as for `souk up`: `SOUK_<SERVICE>_<FIELD>`.
    pub async fn start(data: &Path, stores: Stores, env: &[(&str, &str)], replicas: &[(&str, usize)]) -> Result<Self> {
        let mut fleet = Self::create(data, stores, env, replicas).await?;
        fleet.start_all().await?;
        Ok(fleet)
    }

    /// Creates a fleet without starting its processes, so that a test can replace URLs with `override_url` before `start_all`.
    pub async fn create(data: &Path, stores: Stores, env: &[(&str, &str)], replicas: &[(&str, usize)]) -> Result<Self> {
        Self::prepare(data, stores, env, replicas, None).await
    }

    /// Starts all replicas and waits until they are ready.
    pub async fn start_all(&mut self) -> Result<()> {
        let all: Vec<(&'static str, usize)> = self.replicas.keys().copied().collect();
        self.start_replicas(&all).await
    }

    /// The ports of a service's replicas. `name` is, for example, `order` or `stock grpc`.
    pub fn ports(&self, name: &str) -> Vec<u16> {
        let (service, grpc) = name.split_once(' ').map_or((name, false), |(service, _)| (service, true));
        let replicas = self.replicas.iter().filter(|((name, _), _)| *name == service).map(|(_, replica)| replica);
        replicas.filter_map(|replica| if grpc { replica.grpc } else { Some(replica.port) }).collect()
    }

    /// Replaces the URL at which clients and other services call a service.
    pub fn override_url(&mut self, name: &str, url: String) {
        self.urls.insert(name.to_owned(), url);
    }

    /// Starts the first replica of each service from the programs in another folder. The second replica of each is not started.
    pub async fn start_from(programs: &Path, data: &Path, stores: Stores, env: &[(&str, &str)]) -> Result<Self> {
        let two = SERVICES.map(|service| (service, 2));
        let mut fleet = Self::prepare(data, stores, env, &two, Some(programs.to_owned())).await?;
        fleet.start_replicas(&SERVICES.map(|service| (service, 0))).await?;
        fleet.programs = None;
        Ok(fleet)
    }

    async fn prepare(
        data: &Path,
        stores: Stores,
        env: &[(&str, &str)],
        replicas: &[(&str, usize)],
        programs: Option<PathBuf>,
    ) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        stores.save(data)?;
        let key = data.join("internal.key");
        if !key.exists() {
            std::fs::write(&key, auth::InternalKey::generate()?.to_secret().expose())?;
        }
        let set = env.iter().find(|(name, _)| *name == "SOUK_SAMPLE").map(|(_, set)| Path::new(*set));
        let sample = [Path::new("sample"), Path::new("--json"), Path::new("--data"), data];
        let set = set.map(|set| [Path::new("--sample"), set]);
        let sample: Vec<&Path> = sample.into_iter().chain(set.into_iter().flatten()).collect();
        let (_, sample) = match &programs {
            Some(folder) => souk_at(&folder.join("souk"), sample).await?,
            None => souk(sample).await?,
        };
        let mut fleet = Self {
            data: data.to_owned(),
            stores: Stores::load(data)?,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            key: std::fs::read_to_string(&key)?,
            programs,
            proxies: Vec::new(),
            urls: BTreeMap::new(),
            replicas: BTreeMap::new(),
            passwords: sample["passwords"].clone(),
        };
        for service in SERVICES {
            let count = replicas.iter().find(|(name, _)| *name == service).map_or(1, |(_, count)| *count);
            let has_grpc = service == "stock" || service == "payment";
            for n in 0..count {
                let grpc = if has_grpc { Some(testkit::free_port()?) } else { None };
                fleet.replicas.insert((service, n), Replica { port: testkit::free_port()?, grpc, child: None });
            }
            let grpc = has_grpc.then(|| format!("{service} grpc"));
            for name in iter::once(service.to_owned()).chain(grpc) {
                let proxy = TcpProxy::start(fleet.ports(&name)).await?;
                fleet.urls.insert(name, proxy.url());
                fleet.proxies.push(proxy);
            }
        }
        Ok(fleet)
    }

    async fn start_replicas(&mut self, replicas: &[(&'static str, usize)]) -> Result<()> {
        // Services may start in any order; here the gateway and the order service start before the services that they call.
        for service in SERVICES.into_iter().rev() {
            for (_, n) in replicas.iter().filter(|(name, _)| *name == service) {
                self.run(service, *n)?;
            }
        }
        for (service, n) in replicas {
            self.wait_until_ready(service, *n).await?;
        }
        // The gateway checks unreachable services again every second.
        let client = Client::new(&self.url("gateway"), None);
        eventually("the gateway reaches all services", || async {
            for path in ["/api/products", "/api/places", "/.well-known/jwks.json"] {
                if client.get(path).await?.status != 200 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await?;
        let services: BTreeMap<&str, String> =
            SERVICES.into_iter().filter(|name| *name != "gateway").map(|name| (name, self.url(name))).collect();
        let running = json!({"gateway": self.url("gateway"), "services": services});
        std::fs::write(self.data.join("fleet.json"), serde_json::to_vec(&running)?)?;
        Ok(())
    }

    /// The numbers of a service's replicas.
    pub fn count(&self, service: &str) -> Vec<usize> {
        self.replicas.keys().filter(|(name, _)| *name == service).map(|(_, n)| *n).collect()
    }

    /// The URL of a service. `name` is, for example, `order` or `stock grpc`.
    pub fn url(&self, name: &str) -> String {
        self.urls.get(name).cloned().unwrap_or_default()
    }

    /// The URL of one replica.
    pub fn replica_url(&self, service: &'static str, n: usize) -> String {
        let port = self.replicas.get(&(service, n)).map(|replica| replica.port).unwrap_or_default();
        format!("http://127.0.0.1:{port}")
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts one replica from the programs in another folder.
    pub fn run_from(&mut self, programs: &Path, service: &'static str, n: usize) -> Result<()> {
        self.programs = Some(programs.to_owned());
        let started = self.run(service, n);
        self.programs = None;
        started
    }

    /// Starts one replica.
    pub fn run(&mut self, service: &'static str, n: usize) -> Result<()> {
        let program = match &self.programs {
            Some(folder) => folder.join(service),
            None => program_path(service)?,
        };
        let mut command = Command::new(program);
        clear_env(&mut command);
        let replica = self.replicas.get_mut(&(service, n)).context("no such replica")?;
        command.env("PORT", replica.port.to_string());
        if let Some(grpc) = replica.grpc {
            command.env("SOUK_GRPC_PORT", grpc.to_string());
        }
        let url = |name: &str| self.urls.get(name).cloned().unwrap_or_default();
        if service != "gateway" {
            command.env("DATABASE_URL", self.stores.url(&self.data, service));
        }
        command
            .env("SOUK_BUS_URL", self.stores.url(&self.data, "bus"))
            .env("SOUK_DIALECTS_BUS", self.stores.url(&self.data, "bus"))
            .env("SOUK_INTERNAL_KEY", &self.key)
            .env("SOUK_ISSUER", "souk")
            .env("SOUK_JWKS_URL", format!("{}/.well-known/jwks.json", url("customer")))
            .env("RUST_LOG", "warn");
        for name in SERVICES.into_iter().filter(|name| *name != "gateway") {
            command.env(format!("SOUK_{}_URL", name.to_uppercase()), url(name));
        }
        for name in ["stock", "payment"] {
            command.env(format!("SOUK_{}_GRPC_URL", name.to_uppercase()), url(&format!("{name} grpc")));
        }
        let prefix = format!("SOUK_{}_", service.to_uppercase());
        for (name, value) in &self.env {
            match name.strip_prefix(&prefix) {
                Some(field) => command.env(format!("SOUK_{field}"), value),
                None if SERVICES.iter().any(|s| name.starts_with(&format!("SOUK_{}_", s.to_uppercase()))) => continue,
                None => command.env(name, value),
            };
        }
        let log = File::options().create(true).append(true).open(self.data.join(format!("{service}-{n}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        replica.child = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until a replica is ready.
    pub async fn wait_until_ready(&self, service: &'static str, n: usize) -> Result<()> {
        let client = Client::new(&self.replica_url(service, n), None);
        eventually(&format!("{service} {n} is ready"), || async {
            Ok(client.get("/ready").await.ok().filter(|response| response.status == 200).map(|_| ()))
        })
        .await
        .with_context(|| self.log())
    }

    /// A client with the token of a sample user.
    pub async fn client(&self, user: &str) -> Result<Client> {
        let token = souk_text(["token".as_ref(), user.as_ref(), "--data".as_ref(), self.data.as_os_str()]).await?;
        Ok(Client::new(&self.url("gateway"), Some(token.trim())))
    }

    /// The value of a replica's metric, summed over all labels; 0 if the replica does not respond.
    pub async fn metric(&self, service: &'static str, n: usize, name: &str) -> f64 {
        let client = Client::new(&self.replica_url(service, n), None);
        let Ok(response) = client.get("/metrics").await else { return 0.0 };
        let text = response.text();
        let lines =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Kills a replica with SIGKILL.
    pub async fn kill(&mut self, service: &'static str, n: usize) -> Result<()> {
        let mut child = self.child(service, n)?.take().context("the replica is not running")?;
        child.kill().await?;
        Ok(())
    }

    /// Sends a signal to a replica: `STOP`, `CONT` or `TERM`.
    pub async fn signal(&mut self, service: &'static str, n: usize, signal: &str) -> Result<()> {
        let pid = self.child(service, n)?.as_ref().and_then(Child::id).context("the replica is not running")?;
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().await?;
        ensure!(sent.success(), "kill -{signal} {pid}: {sent}");
        Ok(())
    }

    /// Stops a replica with SIGTERM and waits until it has exited with success.
    pub async fn stop(&mut self, service: &'static str, n: usize) -> Result<()> {
        self.signal(service, n, "TERM").await?;
        self.wait_for_exit(service, n).await
    }

    async fn wait_for_exit(&mut self, service: &'static str, n: usize) -> Result<()> {
        let Some(mut child) = self.child(service, n)?.take() else { return Ok(()) };
        let status = tokio::time::timeout(Duration::from_secs(20), child.wait())
            .await
            .with_context(|| format!("{service} {n} does not stop\n{}", self.log()))??;
        ensure!(status.success(), "after SIGTERM {service} {n} exited with {status}\n{}", self.log());
        Ok(())
    }

    /// Stops all replicas and waits until they have exited with success; callers stop before the services that they call.
    pub async fn terminate(&mut self) -> Result<()> {
        self.unregister();
        for group in [&["gateway", "notification"][..], &["order"], &["customer", "product", "stock", "payment"]] {
            let running: Vec<(&'static str, usize)> = self
                .replicas
                .iter()
                .filter(|((service, _), replica)| group.contains(service) && replica.child.is_some())
                .map(|(key, _)| *key)
                .collect();
            for (service, n) in &running {
                self.signal(service, *n, "TERM").await?;
            }
            for (service, n) in running {
                self.wait_for_exit(service, n).await?;
            }
        }
        Ok(())
    }

    /// The last lines of each replica's log.
    pub fn log(&self) -> String {
        let mut all = String::new();
        for (service, n) in self.replicas.keys() {
            let text = std::fs::read_to_string(self.data.join(format!("{service}-{n}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
            all.push_str(&format!("--- {service} {n}\n{tail}\n"));
        }
        all
    }

    /// Deletes `fleet.json`, so that an audit knows that no fleet is running on the data folder.
    pub fn unregister(&self) {
        let _ = std::fs::remove_file(self.data.join("fleet.json"));
    }

    fn child(&mut self, service: &'static str, n: usize) -> Result<&mut Option<Child>> {
        Ok(&mut self.replicas.get_mut(&(service, n)).context("no such replica")?.child)
    }
}
