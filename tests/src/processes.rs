//! The services as processes of their own, one or several replicas of each: only their URLs tie them together.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    Client, Stores,
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
    /// What clients and other services call: one door a service, which leads to a replica that lives.
    doors: BTreeMap<String, Door>,
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
        std::fs::create_dir_all(data)?;
        stores.note(data)?;
        let key = data.join("internal.key");
        if !key.exists() {
            std::fs::write(&key, auth::InternalKey::generate()?.to_secret().expose())?;
        }
        let (_, sample) = souk([Path::new("sample"), Path::new("--json"), Path::new("--data"), data]).await?;
        let mut fleet = Self {
            data: data.to_owned(),
            stores: Stores::of(data)?,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            key: std::fs::read_to_string(&key)?,
            doors: BTreeMap::new(),
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
            let ports = |port: fn(&Replica) -> Option<u16>| {
                (0..count).filter_map(|n| port(fleet.replicas.get(&(service, n))?)).collect::<Vec<u16>>()
            };
            let (http, grpc) = (ports(|replica| Some(replica.port)), ports(|replica| replica.grpc));
            fleet.doors.insert(service.to_owned(), Door::open(http).await?);
            if speaks_grpc {
                fleet.doors.insert(format!("{service} grpc"), Door::open(grpc).await?);
            }
        }
        // Any order will do: the gateway and the order service come up before those that they ask.
        for service in SERVICES.into_iter().rev() {
            for n in fleet.count(service) {
                fleet.run(service, n)?;
            }
        }
        for service in SERVICES {
            for n in fleet.count(service) {
                fleet.ready(service, n).await?;
            }
        }
        // The gateway looks every second for those who were away.
        let door = Client::new(&fleet.url("gateway"), None);
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
            SERVICES.into_iter().filter(|name| *name != "gateway").map(|name| (name, fleet.url(name))).collect();
        let running = json!({"gateway": fleet.url("gateway"), "services": services});
        std::fs::write(data.join("fleet.json"), serde_json::to_vec(&running)?)?;
        Ok(fleet)
    }

    /// The numbers of a service's replicas.
    pub fn count(&self, service: &str) -> Vec<usize> {
        self.replicas.keys().filter(|(name, _)| *name == service).map(|(_, n)| *n).collect()
    }

    /// Where a service is reached: `order`, `stock grpc`.
    pub fn url(&self, name: &str) -> String {
        self.doors.get(name).map(Door::url).unwrap_or_default()
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

    /// Starts one replica.
    pub fn run(&mut self, service: &'static str, n: usize) -> Result<()> {
        let mut command = Command::new(program(service)?);
        clean(&mut command);
        let replica = self.replicas.get_mut(&(service, n)).context("there is such a replica")?;
        command.env("PORT", replica.port.to_string());
        if let Some(grpc) = replica.grpc {
            command.env("SOUK_GRPC_PORT", grpc.to_string());
        }
        let url = |name: &str| self.doors.get(name).map(Door::url).unwrap_or_default();
        if service != "gateway" {
            command
                .env("DATABASE_URL", self.stores.url(&self.data, service))
                .env("SOUK_BUS_URL", self.stores.url(&self.data, "bus"));
        }
        command
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
                let Some(mut child) = self.child(service, n)?.take() else { continue };
                let status = tokio::time::timeout(Duration::from_secs(20), child.wait())
                    .await
                    .with_context(|| format!("{service} {n} does not stop\n{}", self.log()))??;
                ensure!(status.success(), "SIGTERM ended {service} {n} with {status}\n{}", self.log());
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
