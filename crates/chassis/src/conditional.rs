//! Conditional requests (RFC 9110, section 13): versions of resources as entity tags, and `If-Match`.

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ETAG, HeaderValue, IF_MATCH};
use serde::Serialize;

use crate::Json;

/// The entity tag of a version.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// A JSON response whose entity tag is the version of the resource in it.
pub fn versioned<T: Serialize>(version: i64, body: T) -> Response {
    let mut response = Json(body).into_response();
    set_etag(&mut response, version);
    response
}

/// Adds the entity tag of a version to a response.
pub fn set_etag(response: &mut Response, version: i64) {
    if let Ok(tag) = HeaderValue::from_str(&etag(version)) {
        response.headers_mut().insert(ETAG, tag);
    }
}

/// The version in `If-Match`; `None` without the header or with `*`. A tag that is not a version gives -1, which matches no
/// resource.
pub fn if_match(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(IF_MATCH)?.to_str().unwrap_or_default().trim();
    if text == "*" {
        return None;
    }
    // The standard requires quotes; older clients omit them.
    Some(text.trim_matches('"').parse().unwrap_or(-1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_back_as_its_version() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_static(text));
            if_match(&headers)
        };
        assert_eq!(if_match(&HeaderMap::new()), None);
        assert_eq!((read("\"7\""), read("*"), read("W/\"7\""), read("7")), (Some(7), None, Some(-1), Some(7)));
        assert_eq!(versioned(7, "x").headers()[ETAG], "\"7\"");
    }
}
