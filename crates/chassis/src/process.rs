//! The main function of a process that runs a single service.

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

/// `EX_CONFIG` of sysexits: a restart does not help, the settings must be corrected.
const BAD_CONFIG: u8 = 78;
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The settings of a service that the process itself uses.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Address, HTTP port and gRPC port to listen on.
    fn bind(&self) -> (IpAddr, u16, Option<u16>);
}

/// Reads the settings, sets up logs, listens, starts the service and serves until SIGTERM or SIGINT. With the argument
/// `healthcheck` it requests `/health` of the running service instead; with `--version` it prints name and version.
pub fn main<C, F, Fut>(name: &'static str, crash_points: &[&str], start: F) -> ExitCode
where
    C: Settings,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<App>>,
{
    let argument = std::env::args().nth(1);
    if let Some("--version" | "-V") = argument.as_deref() {
        let written = writeln!(std::io::stdout(), "{name} {}", crate::RELEASE);
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
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
    if argument.as_deref() == Some("healthcheck") {
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
    // Listening comes first: a port in use is reported before any store is opened.
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
            "cannot listen on {address} port {port}: {err}; SOUK_PORT (or PORT) and SOUK_GRPC_PORT set other ports"
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
        tracing::info!("received a stop signal");
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
    match request_health(SocketAddr::new(address, port)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("no response from {address} port {port}: {err}");
            ExitCode::FAILURE
        }
    }
}

fn request_health(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTHCHECK_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTHCHECK_TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}
