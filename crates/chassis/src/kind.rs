//! The table that maps each kind of failure to the codes of every protocol.

use http::StatusCode;
use tonic::Code;

/// The kind of a failure, independent of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be parsed, or has an unknown field.
    Unreadable,
    /// The credentials are missing or invalid.
    Unauthenticated,
    /// The caller lacks the permission.
    Forbidden,
    /// The resource does not exist, or the caller may not learn that it does.
    NotFound,
    /// The path exists, but does not support the method.
    MethodNotAllowed,
    /// The client did not send its request in time, or its own deadline has passed.
    RequestTimeout,
    /// The current state of the resource does not allow it.
    Conflict,
    /// The caller's version of the resource is outdated.
    Stale,
    /// The body is larger than the limit.
    TooLarge,
    /// The media type is not supported.
    UnsupportedMedia,
    /// A field violates a rule.
    Invalid,
    /// The payment was declined.
    PaymentRequired,
    /// Too many requests in too short a time.
    TooMany,
    /// An unexpected error of the service itself.
    Internal,
    /// A peer service sent an invalid response.
    BadGateway,
    /// A peer service or the store is temporarily unreachable.
    Unavailable,
    /// A peer service did not respond in time.
    Timeout,
}

struct Row {
    status: StatusCode,
    grpc: Code,
    graphql: &'static str,
    title: &'static str,
}

const fn row(status: StatusCode, grpc: Code, graphql: &'static str, title: &'static str) -> Row {
    Row { status, grpc, graphql, title }
}

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Unreadable,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::Stale,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::Invalid,
        Self::PaymentRequired,
        Self::TooMany,
        Self::Internal,
        Self::BadGateway,
        Self::Unavailable,
        Self::Timeout,
    ];

    #[rustfmt::skip] // the columns are aligned
    const fn row(self) -> Row {
        match self {
            Self::Unreadable       => row(StatusCode::BAD_REQUEST,            Code::InvalidArgument,    "BAD_REQUEST",        "Bad request"),
            Self::Unauthenticated  => row(StatusCode::UNAUTHORIZED,           Code::Unauthenticated,    "UNAUTHENTICATED",    "Not authenticated"),
            Self::Forbidden        => row(StatusCode::FORBIDDEN,              Code::PermissionDenied,   "FORBIDDEN",          "Forbidden"),
            Self::NotFound         => row(StatusCode::NOT_FOUND,              Code::NotFound,           "NOT_FOUND",          "Not found"),
            Self::MethodNotAllowed => row(StatusCode::METHOD_NOT_ALLOWED,     Code::Unimplemented,      "METHOD_NOT_ALLOWED", "Method not allowed"),
            Self::RequestTimeout   => row(StatusCode::REQUEST_TIMEOUT,        Code::DeadlineExceeded,   "REQUEST_TIMEOUT",    "Request timed out"),
            Self::Conflict         => row(StatusCode::CONFLICT,               Code::FailedPrecondition, "CONFLICT",           "Conflict"),
            Self::Stale            => row(StatusCode::PRECONDITION_FAILED,    Code::Aborted,            "STALE",              "Changed meanwhile"),
            Self::TooLarge         => row(StatusCode::PAYLOAD_TOO_LARGE,      Code::OutOfRange,         "TOO_LARGE",          "Too large"),
            Self::UnsupportedMedia => row(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument,    "UNSUPPORTED_MEDIA",  "Unsupported media type"),
            Self::Invalid          => row(StatusCode::UNPROCESSABLE_ENTITY,   Code::InvalidArgument,    "INVALID",            "Invalid"),
            Self::PaymentRequired  => row(StatusCode::PAYMENT_REQUIRED,       Code::FailedPrecondition, "PAYMENT_REQUIRED",   "Payment refused"),
            Self::TooMany          => row(StatusCode::TOO_MANY_REQUESTS,      Code::ResourceExhausted,  "TOO_MANY_REQUESTS",  "Too many requests"),
            Self::Internal         => row(StatusCode::INTERNAL_SERVER_ERROR,  Code::Internal,           "INTERNAL",           "Internal error"),
            Self::BadGateway       => row(StatusCode::BAD_GATEWAY,            Code::Unavailable,        "BAD_GATEWAY",        "Bad gateway"),
            Self::Unavailable      => row(StatusCode::SERVICE_UNAVAILABLE,    Code::Unavailable,        "UNAVAILABLE",        "Unavailable"),
            Self::Timeout          => row(StatusCode::GATEWAY_TIMEOUT,        Code::DeadlineExceeded,   "TIMEOUT",            "Timed out"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// The gRPC status code.
    pub const fn grpc(self) -> Code {
        self.row().grpc
    }

    /// The value of `extensions.code` in GraphQL.
    pub const fn graphql(self) -> &'static str {
        self.row().graphql
    }

    /// The default `code` of a problem of this kind: the GraphQL value in lower case.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported_media",
            Self::Invalid => "invalid",
            Self::PaymentRequired => "payment_required",
            Self::TooMany => "too_many_requests",
            Self::Internal => "internal",
            Self::BadGateway => "bad_gateway",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
        }
    }

    /// A short title for people, the same for every failure of the kind.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// The kind with this HTTP status; for other statuses `Unreadable` (4xx) or `Internal`.
    pub fn from_status(status: StatusCode) -> Self {
        Self::ALL.into_iter().find(|kind| kind.status() == status).unwrap_or(if status.is_client_error() {
            Self::Unreadable
        } else {
            Self::Internal
        })
    }

    /// Whether the service is at fault, so that the failure is logged as an error.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Internal)
    }
}
