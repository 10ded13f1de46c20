//! What can go wrong here, and what kind of failure each is.

use chassis::{Kind, Problem};

/// A failure of the order service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Own store.
    #[error("the order store failed")]
    Store(#[source] std::sync::Arc<db::Error>),
    /// A neighbour.
    #[error("a neighbour failed")]
    Client(#[source] std::sync::Arc<crate::clients::Error>),
    /// What the caller asked for cannot be; says why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The process stops.
    #[error("the process is stopping")]
    Stopped,
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<crate::clients::Error> for Error {
    fn from(error: crate::clients::Error) -> Self {
        Self::Client(error.into())
    }
}

impl From<batch::Error<db::Error>> for Error {
    fn from(error: batch::Error<db::Error>) -> Self {
        match error {
            batch::Error::Failed(error) => Self::Store(error),
            batch::Error::Stopped => Self::Stopped,
        }
    }
}

impl From<batch::Error<crate::clients::Error>> for Error {
    fn from(error: batch::Error<crate::clients::Error>) -> Self {
        match error {
            batch::Error::Failed(error) => Self::Client(error),
            batch::Error::Stopped => Self::Stopped,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let away = |what: String| Self::new(Kind::Unavailable, what).retry_after(1);
        match error {
            Error::Refused(problem) => problem,
            Error::Store(cause) if cause.is_away() => {
                away("The order store does not answer; try again.".into()).because(cause)
            }
            Error::Store(cause) => Self::internal(cause),
            Error::Client(cause) => away(format!("{cause}; try again.")).because(cause),
            Error::Stopped => away("This replica is stopping; try again.".into()),
        }
    }
}
