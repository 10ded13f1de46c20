//! What can go wrong in this service, without a word of transports.

use std::sync::Arc;

use chassis::{Kind, Problem};

/// A failure. Cheap to clone, since all callers of one batch share it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database refused or is away.
    #[error("the payment store failed")]
    Store(#[source] Arc<db::Error>),
    /// A row that this version cannot read.
    #[error("a stored {0} is not what it can be")]
    Corrupt(&'static str),
    /// The process is about to stop.
    #[error("the service is stopping")]
    Stopping,
}

impl Error {
    /// What kind of failure it is, for every edge.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Store(err) if err.is_away() => Kind::Unavailable,
            Self::Store(_) | Self::Corrupt(_) => Kind::Internal,
            Self::Stopping => Kind::Unavailable,
        }
    }

    /// Whether the database did not answer, so that to try again at once only costs time.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Store(err) if matches!(**err, db::Error::Unavailable(_)))
    }

    /// Whether a row of the batch broke a rule of the schema, which says nothing about the others.
    pub fn is_constraint(&self) -> bool {
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
        match err.kind() {
            Kind::Internal => Self::internal(err),
            kind => Self::new(kind, err.to_string()).because(err),
        }
    }
}
