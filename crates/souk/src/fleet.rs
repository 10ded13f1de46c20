//! The seven services in one process, wired as they are in production: by their URLs and over the network.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use auth::AuthConfig;
use bus::Bus;
use chassis::{App, Context, CrashPoints, Listeners, Metrics, Secret, config::load_with_prefix};
use gateway::{Dialect, PORT_OFFSET, Port};
use serde_json::{Value, json};
use service::{Deps, Service, Settings as _};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    data::Folder,
    ports::{PORTS, Ports, listen, listen_for},
    sample,
};

/// The `iss` of the local fleet's tokens; the same whatever its ports are.
pub const ISSUER: &str = "souk";

/// All crash points that the fleet knows.
pub fn crash_points() -> Vec<&'static str> {
    let mut all: Vec<&str> =
        [order::CRASH_POINTS, stock::CRASH_POINTS, payment::CRASH_POINTS, bus::CRASH_POINTS].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// How a fleet is to start.
#[derive(Debug)]
pub struct FleetOptions<'a> {
    /// Where it listens.
    pub ports: Ports,
    /// Older fleets' dialects that it opens.
    pub dialects: Vec<&'static Dialect>,
    /// Whether their ports are whichever are free, and not those that their clients know.
    pub free_dialect_ports: bool,
    /// The sample data to load, if the folder is new.
    pub sample: Option<&'a sample::Sample>,
    /// What the sandbox refuses more than, where the sample data says so.
    pub sandbox_limit: Option<payment::Money>,
}

/// A fleet that serves.
#[derive(Debug)]
pub struct Fleet {
    addresses: BTreeMap<&'static str, SocketAddr>,
    dialects: Vec<&'static Dialect>,
    /// Where the dialects' ports are, by the numbers that their clients know.
    dialect_ports: BTreeMap<u16, SocketAddr>,
    services: BTreeMap<&'static str, Running>,
}

#[derive(Debug)]
struct Running {
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

/// What a start needs: the listeners are opened before anything is built, so that every URL is known.
struct Start<'a> {
    folder: &'a Folder,
    wanted: &'a FleetOptions<'a>,
    key: Secret,
    crash: CrashPoints,
    instance: String,
    bus: Bus,
    /// Metrics of the bus, which has no port of its own; the notification service exports them.
    bus_metrics: Metrics,
    urls: BTreeMap<&'static str, String>,
}

impl Fleet {
    /// Starts the fleet on a data folder, and loads the sample data if it is new there.
    pub async fn start(folder: &Folder, wanted: FleetOptions<'_>) -> anyhow::Result<Self> {
        let crash_at = chassis::config::var("SOUK_CRASH_AT");
        let crash = CrashPoints::parse(crash_at.as_deref(), &crash_points())?;
        let mut listeners = listen(wanted.ports, &wanted.dialects).await?;
        let dialect_ports = listen_for(&wanted).await?;
        let addresses: BTreeMap<&'static str, SocketAddr> = listeners
            .iter()
            .map(|(name, listener)| Ok((*name, listener.local_addr()?)))
            .collect::<std::io::Result<_>>()?;
        let dialect_addresses = dialect_ports
            .iter()
            .map(|(port, listener)| Ok((*port, listener.local_addr()?)))
            .collect::<std::io::Result<_>>()?;
        let urls = addresses.iter().map(|(name, address)| (*name, format!("http://{address}"))).collect();
        let instance = Context::new_instance();
        let bus_ctx = Context::new("bus", instance.clone(), CancellationToken::new(), crash.clone());
        let bus = Bus::open(&folder.bus_url(), &bus_ctx).await?;
        let bus_metrics = bus_ctx.metrics.clone();
        let key = folder.internal_key()?;
        let start = Start { folder, wanted: &wanted, key, crash, instance, bus, bus_metrics, urls };
        let apps = Box::pin(start.build(wanted.sample, dialect_ports)).await?;
        let mut services = BTreeMap::new();
        for (ctx, app) in apps {
            let grpc = match ctx.name {
                stock::NAME => listeners.remove("stock gRPC"),
                payment::NAME => listeners.remove("payment gRPC"),
                _ => None,
            };
            let http = listeners.remove(ctx.name).context("every service has its port")?;
            let shutdown = ctx.shutdown.clone();
            let name = ctx.name;
            let served = tokio::spawn(async move { chassis::serve(app, &ctx, Listeners { http, grpc }).await });
            services.insert(name, Running { shutdown, served });
        }
        Ok(Self { addresses, services, dialects: wanted.dialects, dialect_ports: dialect_addresses })
    }

    /// The dialects' ports, and where they are.
    pub fn open_ports(&self) -> impl Iterator<Item = (&'static str, &'static Port, String)> {
        self.dialects.iter().flat_map(|dialect| dialect.ports.iter().map(|port| (dialect.name, port))).filter_map(
            |(name, port)| {
                self.dialect_ports.get(&port.number).map(|address| (name, port, format!("http://{address}")))
            },
        )
    }

    /// The URLs of the dialects' ports by the numbers that their clients know.
    pub fn dialect_ports(&self) -> Value {
        let entry = |(_, port, url): (&str, &Port, String)| (port.number.to_string(), json!(url));
        self.open_ports().map(entry).collect::<serde_json::Map<String, Value>>().into()
    }

    /// Services that are not where they usually are, since a dialect is.
    pub fn moved(&self) -> impl Iterator<Item = (&'static str, u16)> {
        PORTS.iter().filter_map(|(name, usual)| {
            let port = self.addresses.get(name)?.port();
            (port == usual.saturating_add(PORT_OFFSET)).then_some((*name, port))
        })
    }

    /// The URL of a service.
    pub fn url(&self, name: &str) -> String {
        self.addresses.get(name).map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// The URLs of the services behind the gateway.
    pub fn services(&self) -> Value {
        [customer::NAME, order::NAME, product::NAME, stock::NAME, payment::NAME, notification::NAME]
            .into_iter()
            .map(|name| (name.to_owned(), json!(self.url(name))))
            .collect::<serde_json::Map<String, Value>>()
            .into()
    }

    /// The URLs of the gRPC ports.
    pub fn grpc(&self) -> Value {
        json!({"stock": self.url("stock gRPC"), "payment": self.url("payment gRPC")})
    }

    /// Waits until a service ends by itself, which it should not.
    pub async fn failed(&mut self) -> anyhow::Error {
        loop {
            if let Some((name, _)) = self.services.iter().find(|(_, running)| running.served.is_finished()) {
                return anyhow::anyhow!("the {name} service has ended");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops the services, those that ask before those that answer, so that what is under way is finished.
    /// Notifications go with the gateway: their live streams would keep it waiting.
    pub async fn stop(mut self) {
        let waves: [&[&str]; 3] = [
            &[gateway::NAME, notification::NAME],
            &[order::NAME],
            &[customer::NAME, product::NAME, stock::NAME, payment::NAME],
        ];
        for wave in waves {
            let wave: Vec<Running> = wave.iter().filter_map(|name| self.services.remove(name)).collect();
            for running in &wave {
                running.shutdown.cancel();
            }
            for running in wave {
                match running.served.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a service did not stop cleanly"),
                    Err(error) => tracing::warn!(%error, "a service did not stop cleanly"),
                }
            }
        }
    }
}

impl Start<'_> {
    fn ctx(&self, name: &'static str) -> Context {
        Context::new(name, self.instance.clone(), CancellationToken::new(), self.crash.clone())
    }

    fn url(&self, name: &str) -> String {
        self.urls.get(name).cloned().unwrap_or_default()
    }

    async fn build(
        &self,
        sample: Option<&sample::Sample>,
        dialect_ports: BTreeMap<u16, TcpListener>,
    ) -> anyhow::Result<Vec<(Context, App)>> {
        let gateway = self.gateway(dialect_ports).await?;
        let (customer, product, order, stock, payment, notification) = tokio::try_join!(
            self.customer(sample),
            self.product(sample),
            self.order(),
            self.stock(sample),
            self.payment(),
            self.notification(),
        )?;
        Ok(vec![customer, product, order, stock, payment, notification, gateway])
    }

    /// The settings of a service: those that follow from where the fleet runs, then `adjust`, then file and environment.
    fn config<S: Service>(&self, adjust: impl FnOnce(&mut S::Config)) -> anyhow::Result<S::Config> {
        let mut config = S::Config::default();
        let common = config.common();
        common.database_url = self.folder.store_url(S::NAME);
        common.bus_url = self.folder.bus_url();
        common.auth = self.auth();
        adjust(&mut config);
        Ok(load_with_prefix(S::NAME, config)?)
    }

    async fn build_one<S: Service>(&self, config: S::Config, ctx: Context) -> anyhow::Result<(Context, App)> {
        let app = S::build(config, Deps { ctx: ctx.clone(), bus: self.bus.clone() }).await?;
        Ok((ctx, app))
    }

    fn auth(&self) -> AuthConfig {
        AuthConfig {
            issuer: ISSUER.into(),
            jwks_url: format!("{}/.well-known/jwks.json", self.url(customer::NAME)),
            internal_key: self.key.clone(),
            ..AuthConfig::default()
        }
    }

    async fn customer(&self, sample: Option<&sample::Sample>) -> anyhow::Result<(Context, App)> {
        let config = self.config::<customer::Customer>(|config| {
            config.order_url = self.url(order::NAME);
            config.stock_url = self.url(stock::NAME);
        })?;
        if let Some(sample) = sample {
            customer::seed(&config, &sample.users).await?;
        }
        self.build_one::<customer::Customer>(config, self.ctx(customer::NAME)).await
    }

    async fn product(&self, sample: Option<&sample::Sample>) -> anyhow::Result<(Context, App)> {
        let config = self.config::<product::Product>(|_| {})?;
        if let Some(sample) = sample {
            product::seed(&config, &sample.products).await?;
        }
        self.build_one::<product::Product>(config, self.ctx(product::NAME)).await
    }

    async fn order(&self) -> anyhow::Result<(Context, App)> {
        let config = self.config::<order::Order>(|config| {
            config.customer_url = self.url(customer::NAME);
            config.product_url = self.url(product::NAME);
            config.stock_url = self.url(stock::NAME);
            config.stock_grpc_url = self.url("stock gRPC");
            config.payment_grpc_url = self.url("payment gRPC");
            // The data folder is locked, so the owner of any lease in a file of it is dead.
            config.sole_replica = config.common.database_url.starts_with("sqlite:");
        })?;
        self.build_one::<order::Order>(config, self.ctx(order::NAME)).await
    }

    async fn stock(&self, sample: Option<&sample::Sample>) -> anyhow::Result<(Context, App)> {
        let config = self.config::<stock::Stock>(|config| {
            config.order_url = self.url(order::NAME);
            config.product_url = self.url(product::NAME);
        })?;
        if let Some(sample) = sample {
            stock::seed(&config, &sample.places, &sample.levels).await?;
        }
        self.build_one::<stock::Stock>(config, self.ctx(stock::NAME)).await
    }

    async fn payment(&self) -> anyhow::Result<(Context, App)> {
        let config = self.config::<payment::Payment>(|config| {
            config.order_url = self.url(order::NAME);
            config.sandbox_limit = self.wanted.sandbox_limit;
        })?;
        self.build_one::<payment::Payment>(config, self.ctx(payment::NAME)).await
    }

    async fn notification(&self) -> anyhow::Result<(Context, App)> {
        let config = self.config::<notification::Notification>(|_| {})?;
        let ctx = Context { metrics: self.bus_metrics.clone(), ..self.ctx(notification::NAME) };
        self.build_one::<notification::Notification>(config, ctx).await
    }

    async fn gateway(&self, dialect_ports: BTreeMap<u16, TcpListener>) -> anyhow::Result<(Context, App)> {
        let ctx = self.ctx(gateway::NAME);
        let mut config = load_with_prefix(
            gateway::NAME,
            gateway::Config {
                auth: self.auth(),
                customer_url: self.url(customer::NAME),
                product_url: self.url(product::NAME),
                order_url: self.url(order::NAME),
                stock_url: self.url(stock::NAME),
                payment_url: self.url(payment::NAME),
                payment_grpc_url: self.url("payment gRPC"),
                stock_grpc_url: self.url("stock gRPC"),
                dialects_bus: self.folder.bus_url(),
                notification_url: self.url(notification::NAME),
                ..gateway::Config::default()
            },
        )?;
        // Their ports are open already.
        config.dialects = self.wanted.dialects.iter().map(|dialect| dialect.name.to_owned()).collect();
        let app = gateway::build(config, gateway::Deps { ctx: ctx.clone(), ports: dialect_ports }).await?;
        Ok((ctx, app))
    }
}
