//! What can go wrong in this service, without a word of transports.

use std::sync::Arc;

use chassis::{FieldError, Kind, Problem};

use crate::domain::{AdjustmentRejection, TransitionError};

/// A failure. Cheap to clone, since all callers of one batch share it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// The database refused or is away.
    #[error("the stock store failed")]
    Store(#[source] Arc<db::Error>),
    /// A row that this version cannot read.
    #[error("a stored {0} is not what it can be")]
    Corrupt(&'static str),
    /// A rule forbids it.
    #[error(transparent)]
    Rejected(#[from] AdjustmentRejection),
    /// An Idempotency-Key came again with another request.
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    /// A place exists already under that id, with another content.
    #[error("place {0} exists already and is another one")]
    PlaceExists(String),
    /// There is no such place to look at.
    #[error("there is no place {0}")]
    UnknownPlace(String),
    /// There is no such replenishment.
    #[error("there is no replenishment {0}")]
    NoReplenishment(String),
    /// An id came again with another content.
    #[error("{0} was made before with another content")]
    Reused(String),
    /// A replenishment cannot be moved on.
    #[error(transparent)]
    TransitionError(#[from] TransitionError),
    /// The product service does not say which products there are.
    #[error("The product service did not answer; try again.")]
    CatalogueAway(#[source] Arc<anyhow::Error>),
    /// The process is about to stop.
    #[error("the service is stopping")]
    Stopping,
}

impl Error {
    /// What kind of failure it is, for every edge.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Store(err) if err.is_away() => Kind::Unavailable,
            Self::Store(_) | Self::Corrupt(_) => Kind::Internal,
            Self::TransitionError(TransitionError::Differs { .. }) => Kind::Forbidden,
            Self::TransitionError(TransitionError::TooMany { .. }) => Kind::Invalid,
            Self::Rejected(AdjustmentRejection::UnknownPlace { .. }) | Self::KeyReused => Kind::Invalid,
            Self::Rejected(_) | Self::PlaceExists(_) | Self::Reused(_) | Self::TransitionError(_) => Kind::Conflict,
            Self::UnknownPlace(_) | Self::NoReplenishment(_) => Kind::NotFound,
            Self::CatalogueAway(_) | Self::Stopping => Kind::Unavailable,
        }
    }

    /// Whether the database did not answer, so that to try again at once only costs time.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Store(err) if matches!(**err, db::Error::Unavailable(_)))
    }

    /// Whether a row of the batch broke a rule of the schema, which says nothing about the others.
    pub(crate) fn is_constraint(&self) -> bool {
        matches!(self, Self::Store(err) if err.constraint().is_some())
    }
}

impl db::AsDb for Error {
    fn as_db(&self) -> Option<&db::Error> {
        match self {
            Self::Store(err) => Some(err),
            _ => None,
        }
    }
}

impl From<db::Error> for Error {
    fn from(err: db::Error) -> Self {
        Self::Store(Arc::new(err))
    }
}

impl From<Error> for Problem {
    fn from(err: Error) -> Self {
        let kind = err.kind();
        match err {
            Error::Rejected(ref why @ AdjustmentRejection::BelowReserved { on_hand, reserved, .. }) => {
                Self::new(kind, why.to_string())
                    .with("on_hand", on_hand)
                    .with("reserved", reserved)
                    .with("available", on_hand - reserved)
            }
            Error::Rejected(ref why @ AdjustmentRejection::UnknownPlace { .. }) => {
                Self::fields(vec![FieldError::new("place_id", "exists", why.to_string())])
            }
            Error::TransitionError(ref why @ TransitionError::TooMany { .. }) => {
                Self::invalid("quantity", "range", why.to_string())
            }
            Error::TransitionError(ref why @ TransitionError::Short { available, .. }) => {
                Self::new(kind, why.to_string()).with("available", available)
            }
            Error::KeyReused => Self::invalid("Idempotency-Key", "reused", err.to_string()),
            Error::CatalogueAway(ref cause) => {
                let cause = format!("{cause:#}");
                Self::new(kind, err.to_string()).retry_after(1).because(cause)
            }
            err if kind == Kind::Internal => Self::internal(err),
            err => Self::new(kind, err.to_string()),
        }
    }
}
