//! The errors of this service, independent of the transport.

use std::sync::Arc;

use chassis::{Kind, Problem};

use crate::domain::{AdjustmentRejection, TransitionError};

/// A failure. Cheap to clone, since all callers of a batch share it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// A statement failed, or the database is unreachable.
    #[error("the stock store failed")]
    Store(#[source] Arc<db::Error>),
    /// A stored value that this version cannot read.
    #[error("a stored {0} cannot be read")]
    Corrupt(&'static str),
    /// A command returned the outcome of another kind of command: a defect.
    #[error("a command returned the outcome of another kind of command")]
    UnexpectedOutcome,
    /// An adjustment breaks a rule.
    #[error(transparent)]
    Adjustment(#[from] AdjustmentRejection),
    /// The Idempotency-Key was used for another request.
    #[error(transparent)]
    KeyReused(#[from] idempotency::Reused),
    /// The id of a new place is taken by a different place.
    #[error("place {0} exists already and is another one")]
    PlaceExists(String),
    /// The place does not exist.
    #[error("there is no place {0}")]
    UnknownPlace(String),
    /// The replenishment does not exist.
    #[error("there is no replenishment {0}")]
    UnknownReplenishment(String),
    /// The id was used before with other content.
    #[error("{0} was made before with another content")]
    IdReused(String),
    /// The stage of a replenishment, or what was counted, does not allow the transition.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// The product service did not answer whether products exist.
    #[error("The product service did not answer; try again.")]
    CatalogueUnreachable(#[source] Arc<anyhow::Error>),
    /// The process is about to stop.
    #[error("the service is stopping")]
    Stopping,
}

impl Error {
    /// The kind of failure, which each transport maps to its own status.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Store(err) if err.is_unavailable() => Kind::Unavailable,
            Self::Store(_) | Self::Corrupt(_) | Self::UnexpectedOutcome => Kind::Internal,
            Self::Transition(TransitionError::Differs { .. }) => Kind::Forbidden,
            Self::Transition(TransitionError::TooMany { .. }) => Kind::Invalid,
            Self::Adjustment(AdjustmentRejection::UnknownPlace { .. }) | Self::KeyReused(_) => Kind::Invalid,
            Self::Adjustment(_) | Self::PlaceExists(_) | Self::IdReused(_) | Self::Transition(_) => Kind::Conflict,
            Self::UnknownPlace(_) | Self::UnknownReplenishment(_) => Kind::NotFound,
            Self::CatalogueUnreachable(_) | Self::Stopping => Kind::Unavailable,
        }
    }
}

impl batch::CommandError for Error {
    fn stopped() -> Self {
        Self::Stopping
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

/// Only the data of an event makes it unusable; anything else may be over when the event is handled again.
impl From<Error> for bus::Failure {
    fn from(err: Error) -> Self {
        match &err {
            Error::Store(store) if !store.is_of_data() => Self::Later(err.into()),
            Error::Corrupt(_) | Error::UnexpectedOutcome | Error::CatalogueUnreachable(_) | Error::Stopping => {
                Self::Later(err.into())
            }
            _ => Self::Bad(err.into()),
        }
    }
}

impl From<Error> for Problem {
    fn from(err: Error) -> Self {
        let kind = err.kind();
        let detail = err.to_string();
        match err {
            Error::Adjustment(AdjustmentRejection::BelowReserved { on_hand, reserved, .. }) => Self::new(kind, detail)
                .with_code("stock.below_reserved")
                .with("on_hand", on_hand)
                .with("reserved", reserved)
                .with("available", on_hand - reserved),
            Error::Adjustment(AdjustmentRejection::UnknownPlace { .. }) => Self::invalid("place_id", "exists", detail),
            Error::Adjustment(AdjustmentRejection::IdReused { .. }) => {
                Self::new(kind, detail).with_code("adjustment.id_reused")
            }
            Error::Transition(TransitionError::Stage { .. }) => {
                Self::new(kind, detail).with_code("replenishment.wrong_stage")
            }
            Error::Transition(TransitionError::Differs { .. }) => {
                Self::new(kind, detail).with_code("replenishment.difference")
            }
            Error::Transition(TransitionError::TooMany { .. }) => Self::invalid("quantity", "range", detail),
            Error::Transition(TransitionError::Short { available, .. }) => {
                Self::new(kind, detail).with_code("stock.short").with("available", available)
            }
            Error::KeyReused(_) => idempotency::reused(),
            Error::PlaceExists(_) => Self::new(kind, detail).with_code("place.exists"),
            Error::IdReused(_) => Self::new(kind, detail).with_code("replenishment.id_reused"),
            Error::UnknownPlace(_) => Self::new(kind, detail).with_code("place.not_found"),
            Error::UnknownReplenishment(_) => Self::new(kind, detail).with_code("replenishment.not_found"),
            Error::CatalogueUnreachable(ref cause) => {
                let cause = format!("{cause:#}");
                Self::new(kind, detail)
                    .with_code("peer.unavailable")
                    .with("peer", "product")
                    .retry_after(1)
                    .because(cause)
            }
            Error::Store(_) | Error::Corrupt(_) | Error::UnexpectedOutcome | Error::Stopping => match kind {
                Kind::Internal => Self::internal(err),
                kind => Self::new(kind, detail),
            },
        }
    }
}
