//! GraphiQL: a page to try queries on. All of it is in the program, so it needs no internet, and its policy lets a browser load nothing
//! else. Versions and licences: `assets/graphiql/README.md`.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chassis::Problem;
use flate2::read::GzDecoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use std::io::Read;

use super::Edge;

/// Scripts and styles of this server alone, none within the page. Fonts and cursors are within the style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src data:; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The files of the page: name, type and contents. What is large is packed.
const FILES: [(&str, &str, Contents); 6] = [
    ("page.css", STYLE, Contents::Plain(include_bytes!("../../assets/graphiql/page.css"))),
    ("page.js", SCRIPT, Contents::Plain(include_bytes!("../../assets/graphiql/page.js"))),
    ("graphiql.css", STYLE, Contents::Gzip(include_bytes!("../../assets/graphiql/graphiql.css.gz"))),
    ("graphiql.js", SCRIPT, Contents::Gzip(include_bytes!("../../assets/graphiql/graphiql.js.gz"))),
    ("react.js", SCRIPT, Contents::Gzip(include_bytes!("../../assets/graphiql/react.js.gz"))),
    ("react-dom.js", SCRIPT, Contents::Gzip(include_bytes!("../../assets/graphiql/react-dom.js.gz"))),
];

#[derive(Clone, Copy)]
enum Contents {
    Plain(&'static [u8]),
    Gzip(&'static [u8]),
}

/// The page. Its links are relative, so that it also works behind a gateway's prefix.
pub(super) fn page() -> Response {
    let page = include_str!("../../assets/graphiql/page.html");
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], page).into_response()
}

/// A file of the page.
pub(super) async fn file(
    State(edge): State<Edge>,
    Path(wanted): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let file = FILES.iter().find(|(name, ..)| *name == wanted);
    let (_, kind, contents) = file.ok_or_else(|| Problem::not_found("file"))?;
    let unpacked = |packed| {
        let mut bytes = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut bytes).map(|_| bytes)
    };
    let mut response = match *contents {
        Contents::Plain(bytes) => bytes.into_response(),
        Contents::Gzip(bytes) if takes_gzip(&headers) => ([(CONTENT_ENCODING, "gzip")], bytes).into_response(),
        Contents::Gzip(bytes) => {
            edge.aside.run(move || unpacked(bytes)).await?.map_err(Problem::internal)?.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    super::accept::quality(headers, &ACCEPT_ENCODING, "gzip") > 0.0
}
