//! Problems: the error responses of all protocols (RFC 9457 for HTTP).

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Kind;

const INTERNAL_DETAIL: &str = "An internal error occurred; the log has the reason under this trace id.";

type Source = Box<dyn Error + Send + Sync>;

/// A field of a request that violates a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field, such as `lines[0].quantity`.
    pub field: String,
    /// Name of the rule, for programs, such as `length`.
    pub rule: String,
    /// What is allowed, for people, such as `1 to 200 characters`.
    pub message: String,
}

impl FieldError {
    /// A violation of `rule` by `field`.
    pub fn new(field: impl Into<String>, rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into(), message: message.into() }
    }
}

/// A failure that is reported to the caller, over any protocol.
#[derive(Debug)]
pub struct Problem {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    code: Option<Cow<'static, str>>,
    detail: String,
    errors: Vec<FieldError>,
    extra: Map<String, Value>,
    retry_after: Option<u64>,
    source: Option<Source>,
}

/// The members of a problem, as a response extension for the middleware, which adds the path and the trace.
#[derive(Clone)]
pub(crate) struct Rendered(pub(crate) Map<String, Value>);

impl Problem {
    /// A failure of `kind` with a sentence for the caller.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            code: None,
            detail: detail.into(),
            errors: Vec::new(),
            extra: Map::new(),
            retry_after: None,
            source: None,
        };
        Self { inner: Box::new(inner) }
    }

    /// One field violates a rule (422).
    pub fn invalid(field: &str, rule: &str, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError::new(field, rule, message)])
    }

    /// Several fields violate rules (422).
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields break a rule", many.len()),
        };
        let mut problem = Self::new(Kind::Invalid, detail);
        problem.inner.errors = errors;
        problem
    }

    /// The resource does not exist, or the caller may not learn that it does (404). The code is `<what>.not_found`.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
            .with_code(format!("{}.not_found", what.replace(' ', "_")))
    }

    /// The caller lacks the permission (403).
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// The credentials are missing or invalid (401).
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, detail)
    }

    /// An unexpected error of the service (500). The cause is logged and never sent to the caller.
    pub fn internal(err: impl Into<Source>) -> Self {
        Self::new(Kind::Internal, INTERNAL_DETAIL).because(err)
    }

    /// Sets the code that programs compare, such as `thing.not_found`; without one it is [`Kind::code`]. Codes are part of
    /// the API: see the table in `docs/problems.md`.
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.inner.code = Some(code.into());
        self
    }

    /// The code that programs compare.
    pub fn code(&self) -> &str {
        self.inner.code.as_deref().unwrap_or_else(|| self.kind().code())
    }

    /// Attaches the cause, for the log.
    pub fn because(mut self, err: impl Into<Source>) -> Self {
        self.inner.source = Some(err.into());
        self
    }

    /// Adds an extension member, such as the id of the resource.
    pub fn with(mut self, key: &str, value: impl Serialize) -> Self {
        // A value that cannot be JSON (such as a map whose keys are no texts) is left out: building an error response must not fail.
        if let Ok(value) = serde_json::to_value(value) {
            self.inner.extra.insert(key.to_owned(), value);
        }
        self
    }

    /// Sets `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.inner.retry_after = Some(seconds);
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// The sentence for the caller; generic for [`Kind::Internal`].
    pub fn detail(&self) -> &str {
        if self.inner.kind == Kind::Internal { INTERNAL_DETAIL } else { &self.inner.detail }
    }

    /// The fields that violate rules.
    pub fn errors(&self) -> &[FieldError] {
        &self.inner.errors
    }

    /// The extension members.
    pub fn extra(&self) -> &Map<String, Value> {
        &self.inner.extra
    }

    /// The JSON members as sent, without path and trace.
    pub fn members(&self) -> Map<String, Value> {
        let mut members = self.inner.extra.clone();
        members.insert("type".into(), json!("about:blank"));
        members.insert("title".into(), json!(self.kind().title()));
        members.insert("status".into(), json!(self.kind().status().as_u16()));
        members.insert("code".into(), json!(self.code()));
        members.insert("detail".into(), json!(self.detail()));
        if !self.inner.errors.is_empty() {
            members.insert("errors".into(), json!(self.inner.errors));
        }
        members
    }

    /// Logs the cause, which the caller does not see. Called once, when the failure becomes a response.
    pub fn log(&self) {
        if self.kind().is_ours() {
            tracing::error!(error = %self.chain(), "request failed");
        } else if self.inner.source.is_some() {
            tracing::warn!(error = %self.chain(), status = self.kind().status().as_u16(), "request refused");
        }
    }

    fn chain(&self) -> String {
        let mut text = self.inner.detail.clone();
        let mut next: Option<&(dyn Error + 'static)> = self.inner.source.as_deref().map(|err| err as _);
        while let Some(err) = next {
            text.push_str(": ");
            text.push_str(&err.to_string());
            next = err.source();
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind().title(), self.detail())
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source.as_deref().map(|err| err as _)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let members = self.members();
        let mut response = Response::new(Body::from(Value::Object(members.clone()).to_string()));
        *response.status_mut() = self.kind().status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind() == Kind::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let retry = self.inner.retry_after.or((self.kind() == Kind::Unavailable).then_some(1));
        if let Some(seconds) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Rendered(members));
        response
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        problem.log();
        Self::new(problem.kind().grpc(), problem.detail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_means_the_same_on_every_protocol() {
        let table: Vec<_> = Kind::ALL.iter().map(|k| (k.status().as_u16(), k.grpc() as i32, k.graphql())).collect();
        assert_eq!(table[3], (404, 5, "NOT_FOUND"));
        assert_eq!(table[10], (422, 3, "INVALID"));
        let statuses: Vec<u16> = table.iter().map(|row| row.0).collect();
        assert_eq!(statuses, [400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 402, 429, 500, 502, 503, 504]);
        for kind in Kind::ALL {
            assert_eq!(Kind::from_status(kind.status()), kind);
        }
    }

    #[test]
    fn the_cause_of_an_internal_error_is_never_sent() {
        let problem = Problem::internal(std::io::Error::other("password is hunter2"));
        assert!(problem.chain().contains("hunter2"));
        assert!(!Value::Object(problem.members()).to_string().contains("hunter2"));
        let status = tonic::Status::from(problem);
        assert_eq!(status.code(), tonic::Code::Internal);
        assert!(!status.message().contains("hunter2"));
    }

    #[test]
    fn a_code_is_that_of_the_kind_unless_another_is_set() {
        assert_eq!(Problem::not_found("cart item").members()["code"], "cart_item.not_found");
        assert_eq!(Problem::new(Kind::Conflict, "Sold.").with_code("stock.short").members()["code"], "stock.short");
        assert_eq!(Problem::new(Kind::Conflict, "Sold.").members()["code"], "conflict");
        let codes: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
    }

    #[test]
    fn members_carry_fields_and_extensions() {
        let problem = Problem::invalid("name", "length", "1 to 200 characters").with("order_id", "o-1");
        let members = Value::Object(problem.members());
        assert_eq!(members["status"], 422);
        assert_eq!(members["code"], "invalid");
        assert_eq!(members["order_id"], "o-1");
        assert_eq!(members["errors"][0]["rule"], "length");
    }
}
