//! Headers and fields that the requests of this service have in common.

use chassis::{Kind, Problem};
use http::{HeaderMap, HeaderName};
use idempotency::Fingerprint;
use serde::Serialize;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Whether the request asks for an answer without waiting: `Prefer: respond-async` (RFC 7240).
pub(super) fn respond_async(headers: &HeaderMap) -> bool {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// The fingerprint of a parsed payload, which tells a repeated request from another one under the same key or id.
pub(super) fn payload_hash(payload: &impl Serialize) -> String {
    Fingerprint::of(payload).to_string()
}

/// The problem (400) of a query parameter.
pub(super) fn bad_query(field: &str, message: impl Into<String>) -> Problem {
    Problem::new(Kind::Unreadable, format!("{field}: {}", message.into()))
}
