//! The one table from the kind of a failure to the codes of each protocol.

use http::StatusCode;
use tonic::Code;

/// What kind of failure it was, told without a word of any transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be read, or has a field that nobody knows.
    Unreadable,
    /// Nobody, or nobody believable, is asking.
    Unauthenticated,
    /// The caller can never do this.
    Forbidden,
    /// There is none, or it belongs to somebody else.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The state of things does not allow it.
    Conflict,
    /// The caller has seen an older version.
    Stale,
    /// More than is taken.
    TooLarge,
    /// A format that is not spoken here.
    UnsupportedMedia,
    /// A field breaks a rule.
    Invalid,
    /// The money was refused.
    PaymentRequired,
    /// Too many requests in too short a time.
    TooMany,
    /// A fault of ours.
    Internal,
    /// A neighbour answered nonsense.
    BadGateway,
    /// A neighbour or the store is away for now.
    Unavailable,
    /// A neighbour took too long.
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
    pub const ALL: [Self; 16] = [
        Self::Unreadable,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
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

    #[rustfmt::skip] // a table is read by its columns
    const fn row(self) -> Row {
        match self {
            Self::Unreadable       => row(StatusCode::BAD_REQUEST,            Code::InvalidArgument,    "BAD_REQUEST",        "Bad request"),
            Self::Unauthenticated  => row(StatusCode::UNAUTHORIZED,           Code::Unauthenticated,    "UNAUTHENTICATED",    "Not authenticated"),
            Self::Forbidden        => row(StatusCode::FORBIDDEN,              Code::PermissionDenied,   "FORBIDDEN",          "Forbidden"),
            Self::NotFound         => row(StatusCode::NOT_FOUND,              Code::NotFound,           "NOT_FOUND",          "Not found"),
            Self::MethodNotAllowed => row(StatusCode::METHOD_NOT_ALLOWED,     Code::Unimplemented,      "METHOD_NOT_ALLOWED", "Method not allowed"),
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

    /// The `code` of a problem of this kind that has no closer one: the GraphQL value in lower case.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
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

    /// A short sentence for people, the same for every failure of the kind.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// The kind that an HTTP status tells of, as far as it can be told.
    pub fn from_status(status: StatusCode) -> Self {
        Self::ALL.into_iter().find(|kind| kind.status() == status).unwrap_or(if status.is_client_error() {
            Self::Unreadable
        } else {
            Self::Internal
        })
    }

    /// Whether the failure is ours (and worth an error in the log), not the caller's.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Internal)
    }
}
