//! Serving a built service until it is told to stop, then letting what runs finish.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Context, grpc, http as edge};

/// How long connections and tasks may take to finish once the service is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait when the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Says whether the service can do its work: `Ok` with facts for the body, or why not.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// A built service, ready to be served.
pub struct App {
    /// Its routes, without the common middleware.
    pub http: Router,
    /// Its gRPC services, if it has any.
    pub grpc: Option<tonic::service::Routes>,
    /// What `/ready` asks.
    pub ready: Ready,
}

/// The sockets that a service is served on.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP/1 and HTTP/2 without TLS, told apart by the first bytes.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: Option<TcpListener>,
}

/// Readiness of a service that needs nothing.
pub fn always_ready() -> Ready {
    Arc::new(|| Box::pin(async { Ok(Value::Null) }))
}

/// Readiness of a service whose own store answers a ping. A bus or a neighbour that is away is no reason to
/// take a service out: it goes on accepting.
pub fn ready_if<F, Fut, E>(ping: F) -> Ready
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    Arc::new(move || {
        let ping = ping();
        Box::pin(async move {
            ping.await.map_err(|error| error.to_string())?;
            Ok(serde_json::json!({"store": "answers"}))
        })
    })
}

/// Serves until `ctx.shutdown` is cancelled, then drains for at most ten seconds.
pub async fn serve(app: App, ctx: &Context, listeners: Listeners) -> io::Result<()> {
    let http = accept(listeners.http, edge::stack(app.http, ctx, app.ready), ctx.shutdown.clone());
    let grpc = async {
        match (listeners.grpc, app.grpc) {
            (Some(listener), Some(routes)) => accept(listener, grpc::stack(routes, ctx), ctx.shutdown.clone()).await,
            _ => Ok(()),
        }
    };
    let served = tokio::try_join!(http, grpc);
    // A listener that failed must not leave the service half alive.
    ctx.shutdown.cancel();
    ctx.tasks.close();
    if tokio::time::timeout(DRAIN, ctx.tasks.wait()).await.is_err() {
        tracing::warn!(service = ctx.name, left = ctx.tasks.len(), "tasks did not end in time and are dropped");
    }
    served.map(|_| ())
}

fn accept(listener: TcpListener, router: Router, shutdown: CancellationToken) -> impl Future<Output = io::Result<()>> {
    let service =
        router.into_service::<Body>().map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new));
    let service = TowerToHyperService::new(service);
    async move {
        let server = server();
        let graceful = GracefulShutdown::new();
        loop {
            let stream = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(err) => {
                        tracing::warn!(error = %err, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            // Small answers must not wait for an acknowledgement; without the option they are only slower.
            let _ = stream.set_nodelay(true);
            let connection = server.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(err) = connection.await {
                    tracing::debug!(error = %err, "connection ended badly");
                }
            });
        }
        drop(listener);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections did not end in time and are cut");
        }
        Ok(())
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(1024);
    server
}
