//! A broker for one test, and processes that use it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::IntoResponse,
    routing::get,
};
use bus::{Bus, Handler, Topology};
use chassis::{Context, CrashPoints};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// Topics and groups of the tests.
pub const TOPOLOGY: Topology = Topology {
    topics: &["orders", "stock", "new-order"],
    groups: &[("first", &["orders"]), ("second", &["stock", "orders"]), ("third", &["orders"])],
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Kafka,
    Rabbit,
    Dapr,
}

/// A broker for one test: a file, or a unique prefix of names on a shared server.
pub struct TestBroker {
    pub kind: Kind,
    dir: tempfile::TempDir,
    prefix: String,
    /// The broker's URL: that of Kafka for Dapr, which has none of its own.
    server: String,
    daprd: PathBuf,
}

fn with(url: &str, setting: &str) -> String {
    format!("{url}{}{setting}", if url.contains('?') { '&' } else { '?' })
}

pub fn context() -> Context {
    Context::new("test", Context::new_instance(), CancellationToken::new(), CrashPoints::none())
}

impl TestBroker {
    /// A broker of this kind.
    pub async fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let server = match kind {
            Kind::Embedded => format!("embedded:{}", dir.path().join("bus.db").display()),
            Kind::Kafka | Kind::Dapr => testkit::server("SOUK_TEST_KAFKA_URL"),
            Kind::Rabbit => testkit::server("SOUK_TEST_AMQP_URL"),
        };
        let daprd = if kind == Kind::Dapr { testkit::server("DAPRD") } else { String::new() };
        let prefix = format!("t{}-", Context::new_instance());
        Self { kind, dir, prefix, server, daprd: daprd.into() }
    }

    /// Replaces the URL of the server.
    pub fn at(mut self, server: String) -> Self {
        self.server = server;
        self
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The name of a topic at the broker.
    pub fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The URL of the broker itself, which stores the dead letters.
    pub fn broker_url(&self) -> String {
        match self.kind {
            Kind::Embedded => self.server.clone(),
            Kind::Rabbit => with(&self.server, &format!("topic_prefix={}", self.prefix)),
            Kind::Kafka | Kind::Dapr => with(&self.server, &format!("topic_prefix={}&partitions=3", self.prefix)),
        }
    }

    /// A process that publishes.
    pub async fn publisher(&self) -> Process {
        match self.kind {
            Kind::Dapr => {
                let sidecar = self.sidecar("publisher", None).await;
                let url = self.dapr_url(sidecar.port);
                Process::start(&url, Some(sidecar)).await
            }
            _ => Process::start(&self.broker_url(), None).await,
        }
    }

    /// A process that connects to the broker itself, not to a sidecar.
    pub async fn operator(&self) -> Process {
        Process::start(&self.broker_url(), None).await
    }

    pub fn dapr_url(&self, port: u16) -> String {
        format!("dapr://127.0.0.1:{port}?topic_prefix={}", self.prefix)
    }

    /// A process that consumes.
    pub async fn consumer<H: Handler>(&self, group: &'static str, handler: H) -> Process {
        if self.kind != Kind::Dapr {
            let process = Process::start(&self.broker_url(), None).await;
            let (bus, ctx) = (process.bus.clone(), process.ctx.clone());
            process.within(async move { bus.subscribe(&ctx, group, handler).expect("a group") }).await;
            return process;
        }
        self.late_consumer(group, handler, Duration::ZERO).await
    }

    /// A process behind a sidecar; the process is unready for some time.
    pub async fn late_consumer<H: Handler>(&self, group: &'static str, handler: H, late: Duration) -> Process {
        let port = testkit::free_port().expect("a port");
        let mut process = Process::start(&self.dapr_url(port), None).await;
        let (bus, ctx) = (process.bus.clone(), process.ctx.clone());
        let app = process
            .within(async move {
                bus.subscribe(&ctx, group, handler).expect("a group");
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                let ready = Instant::now() + late;
                let starting = middleware::from_fn(move |request: Request, next: Next| async move {
                    if Instant::now() < ready {
                        return StatusCode::SERVICE_UNAVAILABLE.into_response();
                    }
                    next.run(request).await
                });
                let routes = bus.routes().route("/ready", get(async || "ready")).layer(starting);
                let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
                tokio::spawn(async move { axum::serve(listener, routes).await });
                address.port()
            })
            .await;
        process.sidecar = Some(self.sidecar_at(group, Some(app), port).await);
        process
    }

    pub async fn sidecar(&self, app: &str, app_port: Option<u16>) -> Sidecar {
        self.sidecar_at(app, app_port, testkit::free_port().expect("a port")).await
    }

    async fn sidecar_at(&self, app: &str, app_port: Option<u16>, port: u16) -> Sidecar {
        let resources = self.dir.path().join("resources");
        std::fs::create_dir_all(&resources).expect("a folder");
        let brokers = self.server.trim_start_matches("kafka://").split('?').next().expect("a host");
        let component = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: pubsub}}\nspec:\n  type: pubsub.kafka\n  \
             version: v1\n  metadata:\n  - {{name: brokers, value: \"{brokers}\"}}\n  - {{name: authType, value: none}}\n  \
             - {{name: initialOffset, value: oldest}}\n"
        );
        std::fs::write(resources.join("pubsub.yaml"), component).expect("a file");
        let log = std::fs::File::create(self.dir.path().join(format!("daprd-{port}.log"))).expect("a file");
        let ports = [(); 2].map(|()| testkit::free_port().expect("a port").to_string());
        let mut command = Command::new(&self.daprd);
        command
            .args(["--app-id", &format!("{}{app}", self.prefix), "--mode", "standalone"])
            .args(["--dapr-http-port", &port.to_string(), "--dapr-grpc-port", &ports[0]])
            .args(["--enable-metrics=false", "--dapr-internal-grpc-port", &ports[1]])
            .args(["--dapr-listen-addresses", "127.0.0.1", "--resources-path"])
            .arg(&resources)
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(app_port) = app_port {
            command.args(["--app-port", &app_port.to_string(), "--enable-app-health-check"]);
            command.args(["--app-health-check-path", "/ready", "--app-health-probe-interval", "1"]);
        }
        let child = command.spawn().expect("DAPRD is a program");
        let url = format!("http://127.0.0.1:{port}/v1.0/healthz/outbound");
        for _ in 0..300 {
            if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                return Sidecar { child, port };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "the sidecar did not start: {:?}",
            std::fs::read_to_string(self.dir.path().join(format!("daprd-{port}.log")))
        );
    }
}

/// A Dapr sidecar.
pub struct Sidecar {
    child: Child,
    pub port: u16,
}

impl Sidecar {
    async fn stop(mut self) {
        let pid = self.child.id().expect("it runs").to_string();
        let _ = Command::new("kill").arg(&pid).status().await;
        if tokio::time::timeout(Duration::from_secs(15), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// A process with a bus: a runtime of its own, which can be stopped gracefully, or killed.
pub struct Process {
    pub ctx: Context,
    pub bus: Bus,
    runtime: Option<Runtime>,
    sidecar: Option<Sidecar>,
}

impl Process {
    pub async fn start(url: &str, sidecar: Option<Sidecar>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (url, ctx) = (url.to_owned(), context());
        let opened = ctx.clone();
        let bus = runtime
            .spawn(async move { Bus::open_with(&url, &opened, TOPOLOGY).await })
            .await
            .expect("no panic")
            .expect("a bus");
        Self { ctx, bus, runtime: Some(runtime), sidecar }
    }

    /// Runs something in the process.
    pub async fn within<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.as_ref().expect("it runs").spawn(work).await.expect("no panic")
    }

    pub async fn publish(&self, messages: Vec<bus::Message>) -> Result<(), bus::Error> {
        let bus = self.bus.clone();
        self.within(async move { bus.publish(messages).await }).await
    }

    /// Stops it as a signal would.
    pub async fn stop(mut self) {
        self.ctx.shutdown.cancel();
        self.ctx.tasks.close();
        // The sidecar drains while the service still responds.
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.stop().await;
        }
        drop(std::mem::replace(
            &mut self.bus,
            Bus::open_with("dapr://h:1", &self.ctx, TOPOLOGY).await.expect("no bus"),
        ));
        let tasks = self.ctx.tasks.clone();
        tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await.expect("tasks end");
    }

    /// Ends it without a graceful stop.
    pub fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A proxy whose connections can be cut.
pub struct Proxy {
    pub port: u16,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, mut state) = (target.clone(), state.clone());
                if !*state.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(&target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open }
    }

    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}
