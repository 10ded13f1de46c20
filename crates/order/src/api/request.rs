//! What the requests of this service have in common.

use aws_lc_rs::digest;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    domain::Order,
    store::{Answer, Key},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The client's Idempotency-Key.
pub(super) fn key(headers: &HeaderMap, subject: &str, route: &'static str) -> Result<Option<Key>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > 255 {
        return Err(Problem::invalid("Idempotency-Key", "length", "1 to 255 visible ASCII characters"));
    }
    Ok(Some(Key { subject: subject.to_owned(), route, key: key.to_owned() }))
}

/// Whether the client wants its answer at once (RFC 7240).
pub(super) fn respond_async(headers: &HeaderMap) -> bool {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// What was sent, to tell a repeat from something else: SHA-256 of its meaning, not of its spelling.
pub(super) fn payload_hash(payload: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(payload).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, &bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a text's length in characters, and that it has no control characters.
pub(super) fn text(errors: &mut Vec<FieldError>, field: &str, value: &str, range: std::ops::RangeInclusive<usize>) {
    let length = value.trim().chars().count();
    if !range.contains(&length) || value.chars().count() > *range.end() {
        let (least, most) = (range.start(), range.end());
        errors.push(FieldError::new(field, "length", format!("{least} to {most} characters")));
    } else if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        errors.push(FieldError::new(field, "characters", "no control characters"));
    }
}

/// An order as an answer, with its version as `ETag`.
pub(super) fn order_response(status: StatusCode, order: &Order) -> Response {
    let mut response = (status, chassis::Json(order)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", order.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A stored answer, byte for byte.
pub(super) fn stored(order_path: &str, answer: Answer) -> Response {
    let content_type = if answer.status >= 400 { "application/problem+json" } else { "application/json" };
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    locate(&mut response, order_path);
    response
}

/// Says where the order is.
pub(super) fn locate(response: &mut Response, path: &str) {
    // Ids fit a path, so a path is a header's value.
    if let Ok(location) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
}
