//! Headers and fields that the requests of this service have in common.

use aws_lc_rs::digest;
use chassis::{FieldError, Kind, Problem};
use http::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::app::IdempotencyKey;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The Idempotency-Key of a request.
pub(super) fn key(headers: &HeaderMap, subject: &str, route: &'static str) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > 255 {
        let malformed = Problem::invalid("Idempotency-Key", "length", "1 to 255 visible ASCII characters");
        return Err(malformed.with_code("idempotency_key.malformed"));
    }
    Ok(Some(IdempotencyKey { subject: subject.to_owned(), route, key: key.to_owned() }))
}

/// Whether the request asks for an answer without waiting: `Prefer: respond-async` (RFC 7240).
pub(super) fn respond_async(headers: &HeaderMap) -> bool {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// SHA-256 of the parsed payload, which tells a repeated request from another one under the same key or id.
pub(super) fn payload_hash(payload: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(payload).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, &bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the length of a text in characters, and that it has no control characters.
pub(super) fn check_text(
    errors: &mut Vec<FieldError>,
    field: &str,
    value: &str,
    range: std::ops::RangeInclusive<usize>,
) {
    let length = value.trim().chars().count();
    if !range.contains(&length) || value.chars().count() > *range.end() {
        let (min, max) = (range.start(), range.end());
        errors.push(FieldError::new(field, "length", format!("{min} to {max} characters")));
    } else if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        errors.push(FieldError::new(field, "characters", "no control characters"));
    }
}

/// The problem (400) of a query parameter.
pub(super) fn bad_query(field: &str, message: impl Into<String>) -> Problem {
    Problem::new(Kind::Unreadable, format!("{field}: {}", message.into()))
}
