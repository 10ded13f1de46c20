//! The gRPC side: middleware, health and reflection services, channels to peers.

use std::any::Any;
use std::pin::Pin;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use futures::{TryFutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus::{HistogramVec, IntCounterVec};
use tonic::body::Body as GrpcBody;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::http::{panic_message, traceparent};
use crate::{Context, Network, Problem, Transport, deadline, trace};

/// The largest message accepted, in bytes; to be set on each generated server by `max_decoding_message_size`.
pub const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

/// Adds the health service, which reports `services` and the server as a whole as serving, and the reflection services v1
/// and v1alpha for an encoded `FileDescriptorSet`.
pub async fn with_health_and_reflection(
    routes: Routes,
    services: &[&str],
    descriptors: &'static [u8],
) -> anyhow::Result<Routes> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in services {
        reporter.set_service_status(*service, ServingStatus::Serving).await;
    }
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(descriptors)
    };
    Ok(routes.add_service(health).add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

/// Number of connections of one client to one URL.
const CONNECTIONS: usize = 4;
/// Interval of keep-alive pings.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Channels to a service with several replicas behind one address, such as a Kubernetes Service. A connection stays with
/// one replica, so the pool has several connections and uses them in turn. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChannelPool {
    channels: Arc<[Channel]>,
    next: Arc<AtomicUsize>,
    url: Arc<str>,
    network: Network,
}

impl ChannelPool {
    /// A pool that connects on first use.
    pub fn new(url: &str, timeout: Duration, network: &Network) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(timeout)
            .timeout(timeout)
            .tcp_nodelay(true)
            // Detects a host that died without closing its connections in seconds, long before TCP would.
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true);
        let channels = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        let url = url.trim_end_matches('/').into();
        Ok(Self { channels, next: Arc::default(), url, network: network.clone() })
    }

    /// The next channel in turn.
    pub fn channel(&self) -> PeerChannel {
        if let Some(transport) = self.network.transport() {
            return PeerChannel::Carried { transport, url: Arc::clone(&self.url) };
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        PeerChannel::Tcp(self.channels[turn % CONNECTIONS].clone())
    }
}

/// A channel to a peer, for a generated client.
#[derive(Clone)]
pub enum PeerChannel {
    /// A connection.
    Tcp(Channel),
    /// What takes its place in a simulation.
    Carried {
        /// Who carries the calls.
        transport: Arc<dyn Transport>,
        /// The peer's URL.
        url: Arc<str>,
    },
}

impl tower::Service<http::Request<GrpcBody>> for PeerChannel {
    type Response = http::Response<GrpcBody>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Tcp(channel) => channel.poll_ready(cx).map_err(Into::into),
            Self::Carried { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: http::Request<GrpcBody>) -> Self::Future {
        match self {
            Self::Tcp(channel) => Box::pin(channel.call(request).map_err(Into::into)),
            Self::Carried { transport, url } => {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let uri = format!("{url}{path}").parse();
                let transport = Arc::clone(transport);
                Box::pin(async move {
                    *request.uri_mut() = uri?;
                    Ok(transport.call(request.map(Body::new)).await?.map(GrpcBody::new))
                })
            }
        }
    }
}

struct RequestMetrics {
    service: &'static str,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// Wraps gRPC routes in tracing, metrics, panic handling and deadlines.
pub(crate) fn stack(routes: Routes, ctx: &Context) -> Router {
    let metrics = Arc::new(RequestMetrics {
        service: ctx.name,
        requests: ctx.metrics.counter("grpc_requests_total", "gRPC calls answered.", &["method", "code"]),
        seconds: ctx.metrics.histogram("grpc_request_duration_seconds", "Time to answer gRPC calls.", &["method"]),
    });
    routes
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn(deadline::grpc))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn_with_state(metrics, observe))
}

/// The response to every call while the service starts.
pub(crate) async fn starting() -> Response {
    Status::unavailable("the service is starting and waits for its store").into_http()
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    Status::from(Problem::internal(panic_message(panic.as_ref()))).into_http()
}

async fn observe(State(metrics): State<Arc<RequestMetrics>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let traceparent = traceparent(request.headers());
    let method = request.uri().path().to_owned();
    let span = tracing::info_span!(
        "call",
        service = metrics.service,
        "otel.name" = %method,
        "otel.kind" = "server",
        "rpc.system" = "grpc",
        "rpc.grpc.status_code" = tracing::field::Empty,
        trace_id = trace::trace_id(&traceparent.0),
    );
    trace::set_parent(&span, &traceparent.0);
    let mut response = next.run(request).instrument(span.clone()).await;
    correct_decoding_status(response.headers_mut());
    // Unknown methods must not create a time series each.
    let method = if grpc_status(response.headers()) == Some(Code::Unimplemented) { "unmatched".into() } else { method };
    let mut call = Call { metrics, span, method, begun, code: None, recorded: false };
    call.code = grpc_status(response.headers());
    response.map(|body| Body::new(ObservedBody { body, call }))
}

/// The messages, with status INTERNAL, by which tonic reports a request that cannot be decoded.
const UNDECODABLE: [&str; 4] = [
    "failed to decode Protobuf message",
    "Unexpected EOF decoding stream.",
    "Missing request message.",
    "protocol error: received message with invalid compression flag",
];

/// Turns INTERNAL into INVALID_ARGUMENT for a message that cannot be decoded: that is the caller's fault.
fn correct_decoding_status(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    if status.code() == Code::Internal && UNDECODABLE.iter().any(|start| status.message().starts_with(start)) {
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::InvalidArgument as i32));
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// A call in progress; it ends with its trailers, or when its caller disconnects.
struct Call {
    metrics: Arc<RequestMetrics>,
    span: tracing::Span,
    method: String,
    begun: Instant,
    code: Option<Code>,
    recorded: bool,
}

impl Call {
    fn record(&mut self) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        // Without a status in headers or trailers the caller disconnected before the end.
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record("rpc.grpc.status_code", code as i32);
        self.metrics.requests.with_label_values(&[self.method.as_str(), &format!("{code:?}")]).inc();
        self.metrics.seconds.with_label_values(&[self.method.as_str()]).observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.record();
    }
}

/// A response body that records the status in its trailers when they are sent.
struct ObservedBody {
    body: Body,
    call: Call,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(code) = frame.trailers_ref().and_then(grpc_status)
        {
            self.call.code = Some(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
