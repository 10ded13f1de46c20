//! Versions and repeats in headers: `ETag`, `If-Match`, `Idempotency-Key`.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chassis::{Json, Kind, Problem};
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::store::{Key, Reply};

/// The entity tag of a version.
pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// An answer with its version as entity tag.
pub(super) fn versioned<T: Serialize>(version: i64, body: T) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&etag(version)) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// The version that the caller has seen; `None` when he does not care (no header, or `*`).
pub(super) fn seen(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    // A tag that was never given out is of no version that there is.
    Ok(Some(version.unwrap_or(-1)))
}

/// The caller's key for recognising a repeat, with a fingerprint of what he sends.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    subject: &str,
    route: &'static str,
    payload_hash: &str,
) -> Result<Option<Key>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(Problem::new(Kind::Unreadable, "Idempotency-Key must be 1 to 255 visible characters."));
    }
    Ok(Some(Key { subject: subject.to_owned(), route, key: key.to_owned(), payload_hash: payload_hash.to_owned() }))
}

/// A fingerprint of a payload: the same for the same values, however they were written.
pub(super) fn fingerprint(payload: &impl Serialize) -> Result<String, Problem> {
    let text = serde_json::to_vec(payload).map_err(Problem::internal)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &text)))
}

/// What a creation answers: made now so that it can be kept for repeats.
pub(super) fn reply(body: &impl Serialize, created: bool, location: String, version: i64) -> Reply {
    Reply {
        status: if created { StatusCode::CREATED } else { StatusCode::OK }.as_u16(),
        // Views are structs of texts and numbers, which always serialise.
        body: serde_json::to_string(body).unwrap_or_default(),
        location,
        etag: etag(version),
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [(LOCATION, self.location), (ETAG, self.etag)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
