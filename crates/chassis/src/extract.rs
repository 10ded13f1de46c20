//! Extractors whose rejections are problems: 400 for unreadable input, 413 for a body that is too large, 415 for another
//! media type.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::{self, BodyBudget};
use crate::query::from_query;
use crate::{Kind, Problem};

/// The largest request body that a service accepts, in bytes.
pub const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// How much of a body that is too large is read and discarded, so that the client receives the 413 instead of a reset
/// connection.
const DISCARD_LIMIT: u64 = 64 * 1024 * 1024;

/// A JSON body of a request or response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

/// An optional JSON body.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionalJson<T>(pub Option<T>);

/// The query string; a repeated name fills a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

/// The parameters in the path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<T>(pub T);

pub(crate) fn too_large() -> Problem {
    Problem::new(Kind::TooLarge, format!("The body may have at most {BODY_LIMIT} bytes."))
}

/// The `Content-Length`, if the client sent one.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the rest of a body and drops it. A client that waits for `100 Continue` has sent nothing yet.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut discarded = 0u64;
    while discarded < DISCARD_LIMIT {
        match body.frame().await {
            Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => return,
        }
    }
}

/// Reads the whole body of a request, at most [`BODY_LIMIT`] bytes: 413 if there are more, 408 if they come too slowly, 503 if the
/// service reads too many large bodies at once.
pub async fn read_body(parts: &Parts, mut body: Body) -> Result<Bytes, Problem> {
    if content_length(&parts.headers).is_some_and(|length| length > BODY_LIMIT as u64) {
        discard(&parts.headers, body).await;
        return Err(too_large());
    }
    let mut share = parts.extensions.get::<BodyBudget>().map(BodyBudget::share);
    let mut cover = |length: u64| {
        if length > BODY_LIMIT as u64 {
            return Err(too_large());
        }
        share.as_mut().map_or(Ok(()), |share| share.cover(usize::try_from(length).unwrap_or(BODY_LIMIT)))
    };
    let mut bytes = BytesMut::new();
    let refused = loop {
        let Some(frame) = body.frame().await else { return Ok(bytes.freeze()) };
        let Ok(data) = frame.map_err(body::unreadable)?.into_data() else { continue };
        // As it comes: who only announces a large body takes nothing from others.
        match cover((bytes.len() + data.len()) as u64) {
            Ok(()) => bytes.extend_from_slice(&data),
            Err(refused) => break refused,
        }
    };
    // Others may have the share while the rest comes.
    drop((share, bytes));
    discard(&parts.headers, body).await;
    Err(refused)
}

/// Parses a JSON document; the problem names the field or position that is wrong.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if let Err(err) = std::str::from_utf8(bytes) {
        return Err(Problem::new(
            Kind::Unreadable,
            format!("The body is not valid UTF-8 at byte {}.", err.valid_up_to()),
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|err| {
        let (path, why) = (err.path().to_string(), err.inner().to_string());
        let detail = if path == "." { why.clone() } else { format!("{path}: {why}") };
        let problem = Problem::new(Kind::Unreadable, detail);
        match field(&path, &why) {
            Some(field) => problem.with("field", field),
            None => problem,
        }
    })?;
    json.end().map_err(|err| Problem::new(Kind::Unreadable, err.to_string()))?;
    Ok(value)
}

/// The path of the field at fault. For a missing or unknown field, serde's message has its name, and the path only its parent.
fn field(path: &str, why: &str) -> Option<String> {
    let named = ["missing field `", "unknown field `"].iter().find_map(|start| why.strip_prefix(start));
    let name = named.and_then(|rest| rest.split('`').next());
    match (path, name) {
        (".", name) => name.map(str::to_owned),
        (path, Some(name)) if !path.ends_with(name) => Some(format!("{path}.{name}")),
        (path, _) => Some(path.to_owned()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn json_body<T: DeserializeOwned>(request: Request) -> Result<Option<T>, Problem> {
    let (parts, body) = request.into_parts();
    let has_type = parts.headers.contains_key(CONTENT_TYPE);
    let other_type = || Problem::new(Kind::UnsupportedMedia, "The body must be application/json.");
    if has_type && !is_json(&parts.headers) {
        discard(&parts.headers, body).await;
        return Err(other_type());
    }
    let bytes = read_body(&parts, body).await?;
    if !has_type {
        return if bytes.is_empty() { Ok(None) } else { Err(other_type()) };
    }
    parse_json(&bytes).map(Some)
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match json_body(request).await? {
            Some(value) => Ok(Self(value)),
            None => Err(Problem::new(Kind::UnsupportedMedia, "A body of type application/json is required.")),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        json_body(request).await.map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        from_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status() == StatusCode::INTERNAL_SERVER_ERROR => {
                Err(Problem::internal(rejection))
            }
            Err(rejection) => Err(Problem::new(Kind::Unreadable, rejection.body_text())),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let mut response = Response::new(Body::from(body));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(err) => Problem::internal(err).into_response(),
        }
    }
}
