//! Responses that the handlers of this service have in common.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use chassis::conditional;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{app::StoredResponse, domain::Order};

/// An order, with its version as `ETag`.
pub(super) fn order(status: StatusCode, order: &Order) -> Response {
    with_etag((status, chassis::Json(order)).into_response(), order.version)
}

/// Adds a version as `ETag`.
pub(super) fn with_etag(mut response: Response, version: i64) -> Response {
    conditional::set_etag(&mut response, version);
    response
}

/// Adds the `Location` of a resource.
pub(super) fn with_location(mut response: Response, path: &str) -> Response {
    // Ids have path characters only, so a path is a valid header value.
    if let Ok(location) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A response to be stored and sent: the value as JSON.
pub(super) fn rendered(status: StatusCode, value: &impl Serialize) -> StoredResponse {
    // Plain structs always serialise.
    StoredResponse { status: status.as_u16(), body: serde_json::to_string(value).unwrap_or_default() }
}

/// A stored response, byte for byte.
pub(super) fn stored(location: &str, stored: StoredResponse) -> Response {
    let content_type = if stored.status >= 400 { "application/problem+json" } else { "application/json" };
    let mut response = Response::new(Body::from(stored.body));
    *response.status_mut() = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    with_location(response, location)
}
