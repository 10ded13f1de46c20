//! How calls reach other services: over TCP, or by what a simulation puts in its place.

use std::{fmt, sync::Arc};

use axum::body::Body;
use futures::future::BoxFuture;
use http::StatusCode;
use reqwest::{RequestBuilder, Response};

/// Carries requests to other services in place of TCP. The request's URI is complete.
pub trait Transport: Send + Sync {
    /// Sends a request and waits for its response; never ends if either is lost.
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, Unreachable>>;
}

/// The peer does not accept connections, or closed this one.
#[derive(Debug, thiserror::Error)]
#[error("the connection was refused or closed")]
pub struct Unreachable;

/// The network of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Network(Option<Arc<dyn Transport>>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Network(simulated)" } else { "Network(TCP)" })
    }
}

impl Network {
    /// A network that this carries instead of TCP.
    pub fn simulated(transport: Arc<dyn Transport>) -> Self {
        Self(Some(transport))
    }

    /// What carries requests, unless that is TCP.
    pub(crate) fn transport(&self) -> Option<Arc<dyn Transport>> {
        self.0.clone()
    }

    /// Sends an HTTP request.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, reqwest::Error> {
        let Some(transport) = &self.0 else { return request.send().await };
        let request = http::Request::<reqwest::Body>::try_from(request.build()?)?.map(Body::new);
        let response = transport.call(request).await.unwrap_or_else(|Unreachable| {
            // An error of a connection can only be made by reqwest; a proxy in front of a dead host answers so.
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        });
        Ok(response.map(|body| reqwest::Body::wrap_stream(body.into_data_stream())).into())
    }
}
