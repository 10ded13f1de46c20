//! The main function of a service that has its process to itself.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, ConfigError};
use crate::{App, Context, CrashPoints, Listeners, serve, telemetry};

/// `EX_CONFIG` of sysexits: restarting will not help, somebody must look at the settings.
const BAD_CONFIG: u8 = 78;
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the process needs to know of a service's settings.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Address, HTTP port and gRPC port to listen on.
    fn bind(&self) -> (IpAddr, u16, Option<u16>);
}

/// Reads settings, sets up logs, listens, starts the service, serves until SIGTERM or SIGINT. With
/// `healthcheck` as its argument it asks the running service for `/health` instead; with `--version` it says what it is.
pub fn main<C, F, Fut>(name: &'static str, crash_points: &[&str], start: F) -> ExitCode
where
    C: Settings,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<App>>,
{
    let asked = std::env::args().nth(1);
    if let Some("--version" | "-V") = asked.as_deref() {
        let told = writeln!(std::io::stdout(), "{name} {}", crate::RELEASE);
        return if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let settings = config::load::<C>(name);
    let crash = CrashPoints::parse(config::var("SOUK_CRASH_AT").as_deref(), crash_points);
    let (settings, crash) = match (settings, crash) {
        (Ok(settings), Ok(crash)) => (settings, crash),
        (settings, crash) => {
            let mistakes =
                settings.err().map(|err| err.to_string()).into_iter().chain(crash.err().map(|err| err.to_string()));
            eprintln!("{name} cannot start:\n{}", mistakes.collect::<Vec<_>>().join("\n"));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if asked.as_deref() == Some("healthcheck") {
        return healthcheck(&settings);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("{name} cannot start: {err}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(name, settings, crash, start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{name} stopped: {err:#}");
            if err.downcast_ref::<ConfigError>().is_some() { ExitCode::from(BAD_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

async fn run<C, F, Fut>(name: &'static str, settings: C, crash: CrashPoints, start: F) -> anyhow::Result<()>
where
    C: Settings,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<App>>,
{
    let _telemetry = telemetry::init(&[name])?;
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let ctx = Context::new(name, Context::new_instance(), shutdown, crash);
    let (address, port, grpc_port) = settings.bind();
    // Listening comes first: a port in use is told before any store is touched.
    let listeners = Listeners {
        http: listen(address, port).await?,
        grpc: match grpc_port {
            Some(port) => Some(listen(address, port).await?),
            None => None,
        },
    };
    let Some((app, listeners)) = serve::while_starting(&ctx, listeners, start(settings, ctx.clone())).await? else {
        return Ok(());
    };
    tracing::info!(service = name, instance = ctx.instance, %address, port, "ready to serve");
    serve(app, &ctx, listeners).await?;
    tracing::info!(service = name, "stopped");
    Ok(())
}

async fn listen(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, port)).await.map_err(|err| {
        ConfigError::new(format!(
            "cannot listen on {address} port {port}: {err}; SOUK_PORT (or PORT) and SOUK_GRPC_PORT choose others"
        ))
        .into()
    })
}

fn stop_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        shutdown.cancel();
    });
    Ok(())
}

fn healthcheck<C: Settings>(settings: &C) -> ExitCode {
    let (address, port, _) = settings.bind();
    let address = match address {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    match ask_health(SocketAddr::new(address, port)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("no answer from {address} port {port}: {err}");
            ExitCode::FAILURE
        }
    }
}

fn ask_health(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTHCHECK_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTHCHECK_TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}
