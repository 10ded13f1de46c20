//! The services as processes of their own, one or several replicas of each: only their URLs tie them together.

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
    door::Door,
    eventually,
    fleet::{clean, program},
    souk, souk_text,
};

/// The services.
pub const SERVICES: [&str; 7] = ["customer", "product", "order", "stock", "payment", "notification", "gateway"];

/// A fleet of processes. All are killed when it is dropped.
#[derive(Debug)]
pub struct Processes {
    data: PathBuf,
    stores: Stores,
    env: Vec<(String, String)>,
    key: String,
    /// Where the programs are that are started from now on; else beside the test's own.
    programs: Option<PathBuf>,
    /// One a service and port, which leads to a replica that lives.
    doors: Vec<Door>,
    /// What clients and other services call: the doors, or what was put in their place.
    urls: BTreeMap<String, String>,
    replicas: BTreeMap<(&'static str, usize), Replica>,
    /// What the first start of the folder made.
    pub passwords: Value,
}

#[derive(Debug)]
struct Replica {
    port: u16,
    grpc: Option<u16>,
    child: Option<Child>,
}

impl Processes {
    /// Starts so many replicas of each service on a data folder, which notes where the stores are and holds the
    /// sample data and the logs; waits until all are ready. `env` is as for `souk up`: `SOUK_<SERVICE>_<FIELD>`.
    pub async fn start(data: &Path, stores: Stores, env: &[(&str, &str)], replicas: &[(&str, usize)]) -> Result<Self> {
        let mut fleet = Self::planned(data, stores, env, replicas).await?;
        fleet.all_up().await?;
        Ok(fleet)
    }

    /// The same with none running yet, for who puts something else before them than doors: by `behind`, then `all_up`.
    pub async fn planned(
        data: &Path,
        stores: Stores,
        env: &[(&str, &str)],
        replicas: &[(&str, usize)],
    ) -> Result<Self> {
        Self::prepare(data, stores, env, replicas, None).await
    }

    /// Starts all and waits until they are ready.
    pub async fn all_up(&mut self) -> Result<()> {
        let all: Vec<(&'static str, usize)> = self.replicas.keys().copied().collect();
        self.up(&all).await
    }

    /// The replicas' ports of a service: `order`, `stock grpc`.
    pub fn ports(&self, name: &str) -> Vec<u16> {
        let (service, grpc) = name.split_once(' ').map_or((name, false), |(service, _)| (service, true));
        let replicas = self.replicas.iter().filter(|((of, _), _)| *of == service).map(|(_, replica)| replica);
        replicas.filter_map(|replica| if grpc { replica.grpc } else { Some(replica.port) }).collect()
    }

    /// From now on a service is called there and not by its door.
    pub fn behind(&mut self, name: &str, url: String) {
        self.urls.insert(name.to_owned(), url);
    }

    /// Starts the first replica of each service from the programs of another folder; the second of each can be run later.
    pub async fn start_from(programs: &Path, data: &Path, stores: Stores, env: &[(&str, &str)]) -> Result<Self> {
        let two = SERVICES.map(|service| (service, 2));
        let mut fleet = Self::prepare(data, stores, env, &two, Some(programs.to_owned())).await?;
        fleet.up(&SERVICES.map(|service| (service, 0))).await?;
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
        stores.note(data)?;
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
            stores: Stores::of(data)?,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            key: std::fs::read_to_string(&key)?,
            programs,
            doors: Vec::new(),
            urls: BTreeMap::new(),
            replicas: BTreeMap::new(),
            passwords: sample["passwords"].clone(),
        };
        for service in SERVICES {
            let count = replicas.iter().find(|(name, _)| *name == service).map_or(1, |(_, count)| *count);
            let speaks_grpc = service == "stock" || service == "payment";
            for n in 0..count {
                let grpc = if speaks_grpc { Some(testkit::free_port()?) } else { None };
                fleet.replicas.insert((service, n), Replica { port: testkit::free_port()?, grpc, child: None });
            }
            let grpc = speaks_grpc.then(|| format!("{service} grpc"));
            for name in iter::once(service.to_owned()).chain(grpc) {
                let door = Door::open(fleet.ports(&name)).await?;
                fleet.urls.insert(name, door.url());
                fleet.doors.push(door);
            }
        }
        Ok(fleet)
    }

    async fn up(&mut self, replicas: &[(&'static str, usize)]) -> Result<()> {
        // Any order will do: the gateway and the order service come up before those that they ask.
        for service in SERVICES.into_iter().rev() {
            for (_, n) in replicas.iter().filter(|(name, _)| *name == service) {
                self.run(service, *n)?;
            }
        }
        for (service, n) in replicas {
            self.ready(service, *n).await?;
        }
        // The gateway looks every second for those who were away.
        let door = Client::new(&self.url("gateway"), None);
        eventually("the gateway finds all services", || async {
            for path in ["/api/products", "/api/places", "/.well-known/jwks.json"] {
                if door.get(path).await?.status != 200 {
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

    /// Where a service is reached: `order`, `stock grpc`.
    pub fn url(&self, name: &str) -> String {
        self.urls.get(name).cloned().unwrap_or_default()
    }

    /// Where one replica is reached.
    pub fn replica_url(&self, service: &'static str, n: usize) -> String {
        let port = self.replicas.get(&(service, n)).map(|replica| replica.port).unwrap_or_default();
        format!("http://127.0.0.1:{port}")
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts one replica from the programs of another folder.
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
            None => program(service)?,
        };
        let mut command = Command::new(program);
        clean(&mut command);
        let replica = self.replicas.get_mut(&(service, n)).context("there is such a replica")?;
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
    pub async fn ready(&self, service: &'static str, n: usize) -> Result<()> {
        let client = Client::new(&self.replica_url(service, n), None);
        eventually(&format!("{service} {n} is ready"), || async {
            Ok(client.get("/ready").await.ok().filter(|answer| answer.status == 200).map(|_| ()))
        })
        .await
        .with_context(|| self.log())
    }

    /// A client with the token of a sample user.
    pub async fn client(&self, user: &str) -> Result<Client> {
        let token = souk_text(["token".as_ref(), user.as_ref(), "--data".as_ref(), self.data.as_os_str()]).await?;
        Ok(Client::new(&self.url("gateway"), Some(token.trim())))
    }

    /// A number of a replica's metrics, all label values together; 0 while it does not answer.
    pub async fn metric(&self, service: &'static str, n: usize, name: &str) -> f64 {
        let client = Client::new(&self.replica_url(service, n), None);
        let Ok(answer) = client.get("/metrics").await else { return 0.0 };
        let text = answer.text();
        let lines =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Kills a replica (SIGKILL), as a power cut would.
    pub async fn kill(&mut self, service: &'static str, n: usize) -> Result<()> {
        let mut child = self.child(service, n)?.take().context("it runs")?;
        child.kill().await?;
        Ok(())
    }

    /// Sends a replica a signal: `STOP`, `CONT`, `TERM`.
    pub async fn signal(&mut self, service: &'static str, n: usize, signal: &str) -> Result<()> {
        let pid = self.child(service, n)?.as_ref().and_then(Child::id).context("it runs")?;
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().await?;
        ensure!(sent.success(), "kill -{signal} {pid}: {sent}");
        Ok(())
    }

    /// Asks a replica to stop and waits for its clean end.
    pub async fn end(&mut self, service: &'static str, n: usize) -> Result<()> {
        self.signal(service, n, "TERM").await?;
        self.gone(service, n).await
    }

    async fn gone(&mut self, service: &'static str, n: usize) -> Result<()> {
        let Some(mut child) = self.child(service, n)?.take() else { return Ok(()) };
        let status = tokio::time::timeout(Duration::from_secs(20), child.wait())
            .await
            .with_context(|| format!("{service} {n} does not stop\n{}", self.log()))??;
        ensure!(status.success(), "SIGTERM ended {service} {n} with {status}\n{}", self.log());
        Ok(())
    }

    /// Asks all to stop and waits for their clean ends, those that ask before those that answer.
    pub async fn terminate(&mut self) -> Result<()> {
        self.withdraw();
        for wave in [&["gateway", "notification"][..], &["order"], &["customer", "product", "stock", "payment"]] {
            let running: Vec<(&'static str, usize)> = self
                .replicas
                .iter()
                .filter(|((service, _), replica)| wave.contains(service) && replica.child.is_some())
                .map(|(key, _)| *key)
                .collect();
            for (service, n) in &running {
                self.signal(service, *n, "TERM").await?;
            }
            for (service, n) in running {
                self.gone(service, n).await?;
            }
        }
        Ok(())
    }

    /// What all have logged, the ends of it.
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

    /// No fleet runs on the data folder any more, an audit is told.
    pub fn withdraw(&self) {
        let _ = std::fs::remove_file(self.data.join("fleet.json"));
    }

    fn child(&mut self, service: &'static str, n: usize) -> Result<&mut Option<Child>> {
        Ok(&mut self.replicas.get_mut(&(service, n)).context("there is such a replica")?.child)
    }
}
