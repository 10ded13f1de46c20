//! Serves a service until the shutdown, then drains its connections and tasks.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::future::BoxFuture;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{Context, Kind, Problem, grpc, http as http_stack};

/// How long connections and tasks may take to finish after the shutdown began.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a client may take to send its request's head, and how long an idle connection stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a caller keeps an idle connection to a service. Shorter than the service does: else a request could be sent on a connection
/// that is being closed, and fail although nobody has received it.
pub const CALLER_IDLE: Duration = Duration::from_secs(10);
const _: () = assert!(CALLER_IDLE.as_secs() < HEAD_TIMEOUT.as_secs());
/// With this a connection with HTTP/2 begins (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause before the next look at a connection of whose first bytes some have come.
const PEEK_PAUSE: Duration = Duration::from_millis(20);
/// Most headers of a request. Above what a gateway lets pass from its clients by those that it adds itself.
const MAX_HEADERS: usize = 128;
/// Most bytes of a connection with HTTP/1 that are buffered, so also of the head of a request.
const MAX_BUFFER: usize = 64 * 1024;
/// Maximum age of a connection, plus up to a quarter. Clients that keep their connections would never reach a new replica,
/// since only new connections are balanced.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
/// Pause after a failed `accept`, as when the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The readiness check of a service: `Ok` with facts for the body of `/ready`, or the reason why it is not ready.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// A service that was built and can be served.
pub struct App {
    /// Its routes, without the common middleware.
    pub http: Router,
    /// Its gRPC services, if it has any.
    pub grpc: Option<tonic::service::Routes>,
    /// The check behind `/ready`.
    pub ready: Ready,
    /// Who calls it.
    pub callers: Callers,
}

/// Who calls a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Other services and the gateway.
    Services,
    /// Anybody, so that what goes wrong by their doing is no failure of the service.
    Anybody,
}

/// The sockets that a service is served on.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP/1 and HTTP/2 without TLS, distinguished by the first bytes.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: Option<TcpListener>,
}

impl App {
    /// Its routes with the common middleware: HTTP, and gRPC if it has any. For a simulation, which serves them without sockets.
    pub fn into_routers(self, ctx: &Context) -> (Router, Option<Router>) {
        let grpc = self.grpc.map(|routes| grpc::stack(routes, ctx));
        (http_stack::stack(self.http, ctx, self.ready, self.callers), grpc)
    }
}

/// Readiness of a service without dependencies.
pub fn always_ready() -> Ready {
    Arc::new(|| Box::pin(async { Ok(Value::Null) }))
}

/// Readiness of a service: its own store responds to a ping. An unreachable bus or peer service does not make a service
/// unready, since it can still accept requests.
pub fn ready_if<F, Fut, E>(ping: F) -> Ready
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    ready_with(ping, || serde_json::json!({"store": "answers"}))
}

/// As [`ready_if`], with facts of the service in the body.
pub fn ready_with<F, Fut, E>(ping: F, facts: impl Fn() -> Value + Send + Sync + 'static) -> Ready
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    Arc::new(move || {
        let (ping, facts) = (ping(), facts());
        Box::pin(async move { ping.await.map(|()| facts).map_err(|error| error.to_string()) })
    })
}

/// Serves a service that is alive but not ready while `start` builds it. Its store may be unreachable, and monitoring must
/// see that the process waits. `None` if the shutdown begins meanwhile.
pub(crate) async fn while_starting(
    ctx: &Context,
    listeners: Listeners,
    start: impl Future<Output = anyhow::Result<App>>,
) -> anyhow::Result<Option<(App, Listeners)>> {
    let started = ctx.shutdown.child_token();
    let starting = Context::new(ctx.name, ctx.instance.clone(), ctx.shutdown.clone(), ctx.crash.clone());
    let ready: Ready = Arc::new(|| Box::pin(async { Err("starting: waits for its store".to_owned()) }));
    let routes = Router::new().fallback(async || {
        Problem::new(Kind::Unavailable, "The service is starting and waits for its store; try again.").retry_after(1)
    });
    let (http, kept_http) = duplicate(listeners.http)?;
    let (grpc, kept_grpc) = listeners.grpc.map(duplicate).transpose()?.unzip();
    let http = accept(http, http_stack::stack(routes, &starting, ready, Callers::Services), started.clone());
    let grpc = async {
        match grpc {
            Some(listener) => accept(listener, Router::new().fallback(grpc::starting), started.clone()).await,
            None => Ok(()),
        }
    };
    let build = async {
        let app = tokio::select! {
            app = start => app.map(Some),
            () = ctx.shutdown.cancelled() => Ok(None),
        };
        started.cancel();
        app
    };
    let (app, http, grpc) = tokio::join!(build, http, grpc);
    Ok(match app? {
        Some(app) => {
            http?;
            grpc?;
            Some((app, Listeners { http: kept_http, grpc: kept_grpc }))
        }
        None => None,
    })
}

/// Duplicates a listening socket: when one is closed, the other still accepts connections.
fn duplicate(listener: TcpListener) -> io::Result<(TcpListener, TcpListener)> {
    let one = listener.into_std()?;
    let other = one.try_clone()?;
    Ok((TcpListener::from_std(one)?, TcpListener::from_std(other)?))
}

/// Serves until `ctx.shutdown` is cancelled, then drains for at most ten seconds.
pub async fn serve(app: App, ctx: &Context, listeners: Listeners) -> io::Result<()> {
    let (http, grpc) = app.into_routers(ctx);
    let http = accept(listeners.http, http, ctx.shutdown.clone());
    let grpc = async {
        match (listeners.grpc, grpc) {
            (Some(listener), Some(router)) => accept(listener, router, ctx.shutdown.clone()).await,
            _ => Ok(()),
        }
    };
    let served = tokio::try_join!(http, grpc);
    // A listener that failed must not leave the service half alive.
    ctx.shutdown.cancel();
    ctx.tasks.close();
    if tokio::time::timeout(DRAIN, ctx.tasks.wait()).await.is_err() {
        tracing::warn!(service = ctx.name, left = ctx.tasks.len(), "tasks did not end in time and are aborted");
    }
    served.map(|_| ())
}

/// Serves further routes of a service to anybody, on a port of their own, with the common middleware, but without `/health`, `/ready`
/// and `/metrics`. Ends when the service stops and its requests in progress are finished.
pub fn serve_port(
    ctx: &Context,
    listener: TcpListener,
    routes: Router,
) -> impl Future<Output = io::Result<()>> + use<> {
    accept(listener, http_stack::layers(routes, ctx, Callers::Anybody), ctx.shutdown.clone())
}

fn accept(listener: TcpListener, router: Router, shutdown: CancellationToken) -> impl Future<Output = io::Result<()>> {
    let service = router.into_service::<Body>();
    async move {
        let server = server();
        let connections = TaskTracker::new();
        loop {
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(err) => {
                        tracing::warn!(error = %err, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            // Small responses must not wait for an acknowledgement; without the option they are only slower.
            let _ = stream.set_nodelay(true);
            let service = service.clone().map_request(move |mut request: Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.map(Body::new)
            });
            let service = TowerToHyperService::new(service);
            let (server, shutdown) = (server.clone(), shutdown.clone());
            connections.spawn(async move {
                let begun = tokio::select! {
                    begun = tokio::time::timeout(HEAD_TIMEOUT, has_begun(&stream)) => begun.unwrap_or_default(),
                    () = shutdown.cancelled() => false,
                };
                if begun {
                    let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
                    serve_connection_until(connection, shutdown).await;
                }
            });
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::warn!("connections did not end in time and are closed");
        }
        Ok(())
    }
}

/// Waits for the first bytes of a connection, until they tell HTTP/1 from HTTP/2: the server itself waits for them without an end. False
/// if the client has closed it.
async fn has_begun(stream: &TcpStream) -> bool {
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            Ok(count) if count < first.len() && HTTP2_PREFACE.starts_with(&first[..count]) => {}
            Ok(_) => return true,
        }
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

/// Serves a connection until its client closes it. When the service stops, or the connection reaches its maximum age, it is
/// shut down gracefully: requests in progress are finished, new ones need another connection.
async fn serve_connection_until(
    connection: impl GracefulConnection<Error: std::fmt::Display>,
    shutdown: CancellationToken,
) {
    let mut connection = std::pin::pin!(connection);
    let age = MAX_CONNECTION_AGE + MAX_CONNECTION_AGE.mul_f64(rand::random::<f64>() / 4.0);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = tokio::time::sleep(age) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(error = %err, "connection ended with an error");
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(1024);
    server
}
