//! What a client accepts (RFC 9110, section 12.5).

use http::{HeaderMap, HeaderName};

/// How much a client likes what it names to the letter, from 0 to 1; 0 if it does not name it.
pub(super) fn quality(headers: &HeaderMap, header: &HeaderName, wanted: &str) -> f32 {
    let lines = headers.get_all(header).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|entry| weight(entry, wanted)).fold(0.0, f32::max)
}

fn weight(entry: &str, wanted: &str) -> Option<f32> {
    let mut parts = entry.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    // A quality that cannot be read is no reason to refuse.
    Some(parts.find_map(|part| part.strip_prefix("q=")).and_then(|quality| quality.parse().ok()).unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HeaderValue};

    use super::*;

    #[test]
    fn the_quality_is_that_of_the_entry() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("text/html, application/xml;q=0.9 ,*/*; q=0.8"));
        headers.append(
            ACCEPT,
            HeaderValue::from_static("application/json;charset=utf-8;q=0.25, image/png;q=NaN, a/b;q=x"),
        );
        for (wanted, expected) in [
            ("text/html", 1.0),
            ("TEXT/HTML", 1.0),
            ("application/xml", 0.9),
            ("*/*", 0.8),
            ("application/json", 0.25),
            ("image/png", 0.0),
            ("a/b", 1.0),
            ("text/plain", 0.0),
        ] {
            assert!((quality(&headers, &ACCEPT, wanted) - expected).abs() < 1e-6, "{wanted}");
        }
    }
}
