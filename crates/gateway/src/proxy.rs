//! Forwards requests to services and their responses to clients, both as streams.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::{IntoResponse, Response},
};
use chassis::{Kind, Problem, RequestId};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{CONNECTION, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
    uri::{PathAndQuery, Scheme},
};

use crate::upstream::{Http, Upstream};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

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
/// the timeout.
pub(crate) async fn pass(http: &Http, upstream: &Upstream, timeout: Duration, mut request: Request) -> Response {
    let Some(replica) = upstream.next().await else {
        return unavailable(upstream.name).into_response();
    };
    prepare(&mut request, &replica.authority);
    // The deadline of a client shortens the timeout.
    let timeout = chassis::deadline::within(timeout);
    chassis::deadline::inject(request.headers_mut(), timeout);
    match tokio::time::timeout(timeout, http.request(request)).await {
        Err(_) => Problem::new(
            Kind::Timeout,
            format!("The {} service did not answer in {} s.", upstream.name, timeout.as_secs()),
        )
        .into_response(),
        Ok(Err(error)) if error.is_connect() => {
            replica.mark_unhealthy();
            unavailable(upstream.name).because(error).into_response()
        }
        Ok(Err(error)) => {
            Problem::new(Kind::BadGateway, format!("The {} service broke off its response.", upstream.name))
                .because(error)
                .into_response()
        }
        Ok(Ok(mut response)) => {
            remove_hop_by_hop(response.headers_mut());
            response.map(Body::new)
        }
    }
}

/// The problem of a request to an unreachable service.
pub(crate) fn unavailable(service: &'static str) -> Problem {
    Problem::new(Kind::Unavailable, format!("The {service} service is unreachable; try again."))
        .with_code("peer.unavailable")
        .with("peer", service)
        .retry_after(1)
}

/// Turns a client's request into one of the gateway.
fn prepare(request: &mut Request, authority: &http::uri::Authority) {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority.clone());
    uri.path_and_query = Some(path);
    let client = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip().to_string());
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    let host = request.headers_mut().remove(HOST);
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    chassis::trace::inject(headers);
    if let Some(Ok(id)) = id.map(|id| HeaderValue::from_str(&id)) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(client) = client {
        let before = headers.get(X_FORWARDED_FOR).and_then(|v| v.to_str().ok()).map(|v| format!("{v}, "));
        if let Ok(value) = HeaderValue::from_str(&format!("{}{client}", before.unwrap_or_default())) {
            headers.insert(X_FORWARDED_FOR, value);
        }
    }
    // All three parts are set, so they form a URI.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
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
            .body(Body::empty())
            .expect("a request");
        request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::from(([192, 0, 2, 7], 9))));
        prepare(&mut request, &"order:8087".parse().expect("an authority"));
        assert_eq!(request.uri(), "http://order:8087/api/orders?limit=3");
        let header = |name: &str| request.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        assert_eq!(header("connection"), None);
        assert_eq!(header("x-secret"), None);
        assert_eq!(header("te"), None);
        assert_eq!(header("authorization").as_deref(), Some("Bearer t"));
        assert_eq!(header("x-forwarded-host").as_deref(), Some("shop.example"));
        assert_eq!(header("x-forwarded-for").as_deref(), Some("10.0.0.1, 192.0.2.7"));
    }
}
