//! What can go wrong here, and of what kind it is.

mod mongo;

use chassis::{FieldError, Kind, Problem};

use crate::domain;

pub(crate) use mongo::{MongoError, in_time, within};

/// A failure of this service, independent of the transport.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is none, or the caller may not know of it.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Fields break rules.
    #[error("fields break rules")]
    Invalid(Vec<FieldError>),
    /// The body cannot be understood.
    #[error("{0}")]
    Unreadable(String),
    /// A list's window cannot be given.
    #[error(transparent)]
    Page(#[from] commerce::page::BadPage),
    /// Another customer or user has the address.
    #[error("another customer or user has this e-mail address")]
    EmailTaken,
    /// Another user has the name.
    #[error("another user has this username")]
    UsernameTaken,
    /// The id stands for another customer.
    #[error("there is another customer of this id")]
    IdTaken,
    /// Another user is that customer.
    #[error("another user belongs to this customer")]
    CustomerTaken,
    /// The key came before with something else.
    #[error(transparent)]
    KeyReused(#[from] idempotency::Reused),
    /// The caller has seen an older version.
    #[error("it has changed meanwhile")]
    Stale {
        /// The version it has now.
        version: i64,
    },
    /// Nothing of the person is left to change.
    #[error("this customer was anonymised")]
    Anonymised,
    /// No transition leads from one stage to the other.
    #[error("a prospect who is {from} cannot become {to}")]
    StageMove {
        /// The present stage.
        from: &'static str,
        /// The requested stage.
        to: &'static str,
    },
    /// One user must remain who can give roles.
    #[error("the last admin must stay one")]
    LastAdmin,
    /// Unknown user or wrong password; the response does not say which.
    #[error("user or password is wrong")]
    BadLogin,
    /// Too many wrong passwords for the login name; the response does not say whether the user exists.
    #[error("too many wrong passwords for this login name; try again later")]
    TooManyAttempts {
        /// Until it may be tried again.
        seconds: u64,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] db::Error),
    /// The store failed, where it is MongoDB.
    #[error("the store failed")]
    Documents(#[source] MongoError),
    /// A key or token could not be made.
    #[error("no token could be made")]
    Token(#[from] auth::AuthError),
    /// A password could not be hashed.
    #[error("a password could not be hashed")]
    Password(#[from] argon2::password_hash::Error),
    /// The order service does not answer as it should.
    #[error("the order service cannot cancel the open orders now")]
    OrdersAway(#[source] anyhow::Error),
    /// The stock service does not say which places there are.
    #[error("The stock service did not answer; try again.")]
    PlacesAway(#[source] anyhow::Error),
    /// An open order cannot be cancelled.
    #[error("order {order_id} cannot be cancelled: {reason}")]
    OrderStays {
        /// Which.
        order_id: String,
        /// What the order service says.
        reason: String,
    },
    /// A defect of ours.
    #[error("{0}")]
    Defect(&'static str),
}

impl Error {
    /// One field breaks one rule.
    pub(crate) fn invalid(field: &str, rule: &str, message: &str) -> Self {
        Self::Invalid(vec![FieldError::new(field, rule, message)])
    }

    /// The code of a problem that has a closer one than its kind; see docs/problems.md.
    fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::EmailTaken => "customer.email_taken",
            Self::UsernameTaken => "user.username_taken",
            Self::IdTaken => "customer.id_taken",
            Self::CustomerTaken => "user.customer_taken",
            Self::KeyReused(_) => "idempotency_key.reused",
            Self::Anonymised => "customer.anonymised",
            Self::StageMove { .. } => "prospect.stage_move",
            Self::LastAdmin => "user.last_admin",
            Self::OrderStays { .. } => "customer.open_order",
            Self::BadLogin => "login.failed",
            Self::TooManyAttempts { .. } => "login.throttled",
            Self::OrdersAway(_) | Self::PlacesAway(_) => "peer.unavailable",
            _ => return None,
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Invalid(_) | Self::KeyReused(_) | Self::Page(_) => Kind::Invalid,
            Self::Unreadable(_) => Kind::Unreadable,
            Self::EmailTaken
            | Self::UsernameTaken
            | Self::IdTaken
            | Self::CustomerTaken
            | Self::Anonymised
            | Self::StageMove { .. }
            | Self::LastAdmin
            | Self::OrderStays { .. } => Kind::Conflict,
            Self::Stale { .. } => Kind::Stale,
            Self::BadLogin => Kind::Unauthenticated,
            Self::TooManyAttempts { .. } => Kind::TooMany,
            Self::Store(error) if error.is_unavailable() => Kind::Unavailable,
            Self::Documents(failure) if failure.is_unavailable() => Kind::Unavailable,
            Self::OrdersAway(_) | Self::PlacesAway(_) => Kind::Unavailable,
            Self::Store(_) | Self::Documents(_) | Self::Token(_) | Self::Password(_) | Self::Defect(_) => {
                Kind::Internal
            }
        }
    }
}

/// Which rule of the schema says what: constraints and unique indexes have the same names in every store.
fn refused_by(constraint: Option<&str>) -> Option<Error> {
    match constraint {
        Some("customers_email_lower_key" | "users_email_lower_key") => Some(Error::EmailTaken),
        Some("users_username_lower_key") => Some(Error::UsernameTaken),
        Some("customers_pkey") => Some(Error::IdTaken),
        Some("users_customer_id_key") => Some(Error::CustomerTaken),
        _ => None,
    }
}

impl From<domain::Error> for Error {
    fn from(error: domain::Error) -> Self {
        match error {
            domain::Error::Invalid(fields) => Self::Invalid(fields),
            domain::Error::Unreadable(why) => Self::Unreadable(why),
            domain::Error::StageMove { from, to } => Self::StageMove { from, to },
            domain::Error::Defect(what) => Self::Defect(what),
        }
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        refused_by(error.constraint()).unwrap_or(Self::Store(error))
    }
}

impl From<MongoError> for Error {
    fn from(failure: MongoError) -> Self {
        refused_by(failure.duplicate()).unwrap_or(Self::Documents(failure))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (kind, code, detail) = (error.kind(), error.code(), error.to_string());
        let problem = match error {
            Error::NotFound(what) => return Self::not_found(what),
            Error::Invalid(fields) => return Self::fields(fields),
            Error::Page(bad) => return Self::invalid(bad.field, "range", bad.message),
            Error::Stale { version } => Self::new(kind, detail).with("version", version),
            Error::OrderStays { order_id, .. } => Self::new(kind, detail).with("order_id", order_id),
            Error::TooManyAttempts { seconds } => Self::new(kind, detail).retry_after(seconds),
            Error::Store(_)
            | Error::Documents(_)
            | Error::Token(_)
            | Error::Password(_)
            | Error::OrdersAway(_)
            | Error::PlacesAway(_) => Self::new(kind, detail).because(error),
            _ => Self::new(kind, detail),
        };
        match code {
            Some(code) => problem.with_code(code),
            None => problem,
        }
    }
}
