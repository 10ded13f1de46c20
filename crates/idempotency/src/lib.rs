//! Idempotency keys (draft-ietf-httpapi-idempotency-key-header): the header, the fingerprint of a request, the response that
//! is stored for repeats.
//!
//! A key belongs to one subject and route. The first request under a key stores its fingerprint, and its response in the transaction
//! of its effect. A repeat with the same fingerprint gets that response byte for byte; one with another fingerprint is refused (422).

mod table;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chassis::{FieldError, Kind, Problem, conditional};
use commerce::compound_key;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

pub use table::{Reused, Table, lock};

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key, in characters.
pub const LONGEST: usize = 255;

/// A key as one subject uses it on one route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The user or service that sends it.
    pub subject: String,
    /// The operation.
    pub route: &'static str,
    /// The key itself.
    pub key: String,
}

impl Key {
    /// A key that a client chose, wherever it stands in the request; 400 if it is malformed.
    pub fn parse(key: &str, subject: &str, route: &'static str) -> Result<Self, Problem> {
        Ok(Self { subject: subject.to_owned(), route, key: checked(key)?.to_owned() })
    }

    /// The key in the `Idempotency-Key` header, if there is one.
    pub fn from_headers(headers: &HeaderMap, subject: &str, route: &'static str) -> Result<Option<Self>, Problem> {
        header(headers)?.map(|key| Self::parse(key, subject, route)).transpose()
    }

    /// The name of its lock in the store.
    pub fn lock_name(&self) -> String {
        // Routes and keys may contain any separator.
        format!("key/{}", compound_key([self.subject.as_str(), self.route, self.key.as_str()]))
    }
}

/// A request under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key.
    pub key: Key,
    /// The fingerprint of the request.
    pub fingerprint: Fingerprint,
}

impl KeyedRequest {
    /// The request under the key in the `Idempotency-Key` header, if there is one.
    pub fn from_headers(
        headers: &HeaderMap,
        subject: &str,
        route: &'static str,
        request: &impl Serialize,
    ) -> Result<Option<Self>, Problem> {
        let key = Key::from_headers(headers, subject, route)?;
        Ok(key.map(|key| Self { key, fingerprint: Fingerprint::of(request) }))
    }

    /// A request without a key of its client, under a key that only the tries of this call share: a commit whose answer was lost is
    /// then found by the next try.
    pub fn of_this_call(subject: &str, route: &'static str, request: &impl Serialize) -> Self {
        let key = format!("call {}", uuid::Uuid::now_v7());
        Self { key: Key { subject: subject.to_owned(), route, key }, fingerprint: Fingerprint::of(request) }
    }
}

/// The key in the `Idempotency-Key` header, if there is one; 400 unless it is 1 to 255 printable ASCII characters.
pub fn header(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    // The white space around a field's value is no part of it (RFC 9110, section 5.5).
    checked(value.to_str().map_err(|_| malformed())?.trim()).map(Some)
}

fn checked(key: &str) -> Result<&str, Problem> {
    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if key.trim().is_empty() || key.len() > LONGEST || !key.bytes().all(printable) { Err(malformed()) } else { Ok(key) }
}

/// The refusal (400) of a key that is no key.
pub fn malformed() -> Problem {
    let message = format!("Idempotency-Key must be 1 to {LONGEST} printable ASCII characters.");
    Problem::new(Kind::Unreadable, message).with_code("idempotency_key.malformed")
}

/// The refusal (422) of a key that came before with another request.
pub fn reused() -> Problem {
    let message = "this key was used for another request; use a new one";
    Problem::fields(vec![FieldError::new("Idempotency-Key", "reused", message)]).with_code("idempotency_key.reused")
}

/// A hash of the meaning of a request, the same however it was spelled: SHA-256 of its JSON after parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a parsed request.
    pub fn of(request: &impl Serialize) -> Self {
        // Requests are structs of texts and numbers, which always serialise.
        Self::of_json(&serde_json::to_vec(request).unwrap_or_default())
    }

    fn of_json(json: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, json).as_ref());
        Self(hash)
    }

    /// In URL-safe base64.
    pub fn to_base64(self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether a stored fingerprint is this one. It may be in hexadecimal digits, in base64, or the whole request, as earlier versions
    /// of the stock service stored it.
    pub fn is(self, stored: &str) -> bool {
        self.to_string() == stored || self.to_base64() == stored || self == Self::of_json(stored.as_bytes())
    }
}

/// In hexadecimal digits.
impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A response as it was sent first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: String,
    /// Path of the resource.
    pub location: String,
    /// Entity tag of the resource.
    pub etag: String,
}

impl StoredResponse {
    /// The response that shows a resource: 201 if the request created it, else 200.
    pub fn of(body: &impl Serialize, created: bool, location: String, version: i64) -> Self {
        let status = if created { StatusCode::CREATED } else { StatusCode::OK };
        // Bodies are structs of texts and numbers, which always serialise.
        let body = serde_json::to_string(body).unwrap_or_default();
        Self { status: status.as_u16(), body, location, etag: conditional::etag(version) }
    }
}

impl IntoResponse for StoredResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        for (name, value) in [(LOCATION, self.location), (ETAG, self.etag)] {
            if let Some(value) = HeaderValue::from_str(&value).ok().filter(|value| !value.is_empty()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_short_and_printable_or_refused_with_400() {
        let parse = |key: &str| Key::parse(key, "u-1", "orders");
        assert_eq!(parse(" a b").expect("a key").key, " a b", "only a header is trimmed");
        for bad in ["", "  ", "a\tb", "é", &"k".repeat(256)] {
            let problem = parse(bad).expect_err(bad);
            assert_eq!((problem.kind(), problem.code()), (Kind::Unreadable, "idempotency_key.malformed"), "{bad:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(Key::from_headers(&headers, "u-1", "orders").expect("none"), None);
        headers.insert(HEADER, HeaderValue::from_static(" a b "));
        assert_eq!(header(&headers).expect("a key"), Some("a b"));
        headers.insert(HEADER, HeaderValue::from_bytes(b"\xff").expect("opaque"));
        assert!(Key::from_headers(&headers, "u-1", "orders").is_err());
    }

    #[test]
    fn a_fingerprint_tells_requests_apart_and_has_the_form_that_is_stored() {
        let hash = Fingerprint::of(&json!({"a": 1}));
        assert_eq!(hash, Fingerprint::of(&json!({"a": 1})));
        assert_ne!(hash, Fingerprint::of(&json!({"a": 2})));
        assert_eq!(hash.to_string(), "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862");
        assert!(hash.is(&hash.to_string()) && hash.is(&hash.to_base64()) && hash.is(r#"{"a":1}"#));
        assert!(!hash.is("") && !hash.is(r#"{"a":2}"#));
    }
}
