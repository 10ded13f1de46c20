//! Forwards requests to services and their responses to clients, both as streams.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::{IntoResponse, Response},
};
use chassis::{BodyProgress, Kind, Problem, RequestId, trace::TRACEPARENT};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{
        CONNECTION, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;

use crate::{
    lent_body::LentBody,
    upstream::{Http, HttpError, Upstream},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How much sooner than the service the gateway finds that the time is over.
const HEAD_START: Duration = Duration::from_millis(250);

/// Headers that concern one connection and not the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Sends a request to a service and returns its response: 503 if the service is unreachable, 502 if the connection breaks, 504 after
/// the timeout; 400 or 408 if the client has not sent the whole request.
pub(crate) async fn pass(http: &Http, upstream: &Upstream, timeout: Duration, mut request: Request) -> Response {
    prepare(&mut request);
    // The time of the service begins when it has the whole request.
    let timeout = timeout + chassis::longest_upload(request.headers());
    // The deadline of a client shortens the time that the service has. The gateway comes first, since it knows whose deadline it was.
    chassis::deadline::inject(request.headers_mut(), chassis::deadline::within(timeout) + HEAD_START);
    let progress = request.extensions().get::<BodyProgress>().cloned().unwrap_or_default();
    match tokio::time::timeout(timeout, send(http, upstream, request)).await {
        Err(_) => {
            let detail = format!("The {} service did not answer in {} s.", upstream.name, timeout.as_secs());
            progress.fault_at_timeout().unwrap_or_else(|| Problem::new(Kind::Timeout, detail)).into_response()
        }
        Ok(Err(NoResponse::Unreachable(error))) => {
            let problem = unavailable(upstream.name);
            match error {
                Some(error) => problem.because(error),
                None => problem,
            }
            .into_response()
        }
        Ok(Err(NoResponse::Broken(error))) => {
            let detail = format!("The {} service broke off its response.", upstream.name);
            progress.fault().unwrap_or_else(|| Problem::new(Kind::BadGateway, detail).because(error)).into_response()
        }
        Ok(Ok(mut response)) => {
            remove_hop_by_hop(response.headers_mut());
            response.map(Body::new)
        }
    }
}

/// Why a request has no response.
enum NoResponse {
    /// No replica is reachable.
    Unreachable(Option<HttpError>),
    /// The connection broke after it was opened.
    Broken(HttpError),
}

/// Sends a request to a replica. If it cannot be connected, nothing was sent, so the request goes to another one that is healthy.
async fn send(http: &Http, upstream: &Upstream, request: Request) -> Result<http::Response<Incoming>, NoResponse> {
    let (parts, body) = request.into_parts();
    let body = LentBody::new(body);
    let mut replica = upstream.next().await.ok_or(NoResponse::Unreachable(None))?;
    loop {
        let mut attempt = Request::from_parts(parts.clone(), Body::new(body.clone()));
        address(&mut attempt, &replica.authority);
        let error = match http.request(attempt).await {
            Ok(response) => return Ok(response),
            Err(error) if error.is_connect() => error,
            Err(error) => return Err(NoResponse::Broken(error)),
        };
        replica.mark_unhealthy();
        // As each failure takes one replica out, this ends.
        replica = match upstream.healthy() {
            Some(other) if !body.is_read() => other,
            _ => return Err(NoResponse::Unreachable(Some(error))),
        };
    }
}

/// The problem of a request to an unreachable service.
pub(crate) fn unavailable(service: &'static str) -> Problem {
    Problem::new(Kind::Unavailable, format!("The {service} service is unreachable; try again."))
        .with_code("peer.unavailable")
        .with("peer", service)
        .retry_after(1)
}

/// Addresses a request to a replica.
fn address(request: &mut Request, authority: &Authority) {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority.clone());
    uri.path_and_query = Some(path);
    // All three parts are set, so they form a URI.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
}

/// Turns the headers of a client's request into those of one of the gateway.
fn prepare(request: &mut Request) {
    let client = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip().to_string());
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    // HTTP/2 has the host in the authority.
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let headers = request.headers_mut();
    let host = headers.remove(HOST).or(authority);
    remove_hop_by_hop(headers);
    // Without the parent that it belongs to, the state of a trace means nothing (W3C Trace Context, section 3.3.1).
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    if parent.and_then(chassis::trace::trace_id).is_none() {
        headers.remove("tracestate");
    }
    chassis::trace::inject(headers);
    // HTTP/2 may split it, HTTP/1.1 has one (RFC 9113, section 8.2.3).
    join(headers, COOKIE, "; ", None);
    if let Some(Ok(id)) = id.map(|id| HeaderValue::from_str(&id)) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    join(headers, X_FORWARDED_FOR, ", ", client.as_deref());
}

/// Makes one line of all lines of a header, in their order, and appends a value.
fn join(headers: &mut HeaderMap, name: HeaderName, separator: &str, last: Option<&str>) {
    let lines: Vec<&[u8]> =
        headers.get_all(&name).iter().map(HeaderValue::as_bytes).chain(last.map(str::as_bytes)).collect();
    if (lines.len() > 1 || last.is_some())
        && let Ok(value) = HeaderValue::from_bytes(&lines.join(separator.as_bytes()))
    {
        headers.insert(name, value);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // `Connection` names further headers of this hop.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use chassis::{App, Callers, Context, Listeners};
    use hyper_util::client::legacy::connect::HttpConnector;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn headers_of_one_hop_stay_there() {
        let mut request = Request::builder()
            .uri("/api/orders?limit=3")
            .header("host", "shop.example")
            .header("connection", "close, x-secret")
            .header("x-secret", "1")
            .header("te", "trailers")
            .header("authorization", "Bearer t")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-for", "10.0.0.2")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("traceparent", "00-0-0-00")
            .header("tracestate", "a=b")
            .body(Body::empty())
            .expect("a request");
        request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::from(([192, 0, 2, 7], 9))));
        prepare(&mut request);
        address(&mut request, &"order:8087".parse().expect("an authority"));
        assert_eq!(request.uri(), "http://order:8087/api/orders?limit=3");
        let header = |name: &str| request.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        assert_eq!(header("connection"), None);
        assert_eq!(header("x-secret"), None);
        assert_eq!(header("te"), None);
        assert_eq!(header("authorization").as_deref(), Some("Bearer t"));
        assert_eq!(header("x-forwarded-host").as_deref(), Some("shop.example"));
        assert_eq!(header("x-forwarded-for").as_deref(), Some("10.0.0.1, 10.0.0.2, 192.0.2.7"));
        assert_eq!(header("cookie").as_deref(), Some("a=1; b=2"));
        assert_eq!(header("tracestate"), None, "its parent is invalid");
    }

    #[test]
    fn the_authority_of_http_2_is_told_as_the_host() {
        let mut request = Request::builder()
            .uri("https://shop.example/api/orders")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("tracestate", "a=b")
            .body(Body::empty())
            .expect("a request");
        prepare(&mut request);
        assert_eq!(request.headers()["x-forwarded-host"], "shop.example");
        assert_eq!(request.headers()["tracestate"], "a=b");
    }

    /// A service that answers with what it is sent.
    async fn echo() -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let app = axum::Router::new().fallback(|body: axum::body::Bytes| async { body });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    }

    fn client() -> Http {
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build(HttpConnector::new())
    }

    #[tokio::test]
    async fn a_dead_replica_costs_no_request() -> anyhow::Result<()> {
        let gone = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let upstream = Upstream::new("order", &format!("http://{gone},http://{}", echo().await?))?;
        for _ in 0..4 {
            let request = Request::post("http://shop.example/api/orders").body(Body::from("two teas"))?;
            let response = pass(&client(), &upstream, Duration::from_secs(5), request).await;
            assert_eq!(response.status(), 200);
            assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, "two teas");
        }
        Ok(())
    }

    /// A gateway in front of an echo, with a time-out of five seconds, and a connection to it.
    async fn gateway() -> anyhow::Result<TcpStream> {
        let upstream = Upstream::new("order", &format!("http://{}", echo().await?))?;
        let pass = move |request| async move { pass(&client(), &upstream, Duration::from_secs(5), request).await };
        let http = axum::Router::new().fallback(pass);
        let app = App { http, grpc: None, ready: chassis::always_ready(), callers: Callers::Anybody };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        let ctx = Context::new("gateway", "1", Default::default(), Default::default());
        tokio::spawn(async move { chassis::serve(app, &ctx, Listeners { http: listener, grpc: None }).await });
        Ok(stream)
    }

    async fn answer(stream: &mut TcpStream) -> anyhow::Result<String> {
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_its_body_unfinished_is_no_fault_of_the_service() -> anyhow::Result<()> {
        let mut stream = gateway().await?;
        stream.write_all(b"POST /api/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\ntwo").await?;
        let answer = answer(&mut stream).await?;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_upload_is_not_that_of_the_service() -> anyhow::Result<()> {
        let mut stream = gateway().await?;
        stream.write_all(b"POST /api/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await?;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream.write_all(&[b' '; 10_000]).await?;
        }
        let answer = answer(&mut stream).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }
}
