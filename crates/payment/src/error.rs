//! The errors of this service, independent of the transport.

use std::sync::Arc;

use chassis::{Kind, Problem};

/// A failure. Cheap to clone, since all callers of a batch share it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// A statement failed, or the database is unreachable.
    #[error("the payment store failed")]
    Store(#[source] Arc<db::Error>),
    /// A stored value that this version cannot read.
    #[error("a stored {0} cannot be read")]
    Corrupt(&'static str),
    /// A command returned the outcome of another kind of command: a defect.
    #[error("a command returned the outcome of another kind of command")]
    UnexpectedOutcome,
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
            Self::Stopping => Kind::Unavailable,
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

impl From<Error> for Problem {
    fn from(err: Error) -> Self {
        match err.kind() {
            Kind::Internal => Self::internal(err),
            kind => Self::new(kind, err.to_string()).because(err),
        }
    }
}
