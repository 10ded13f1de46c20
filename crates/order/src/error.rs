//! The error of the order service, and the kind of each failure.

use std::sync::Arc;

use chassis::{Kind, Problem};

/// A failure of the order service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store of this service.
    #[error("the order store failed")]
    Store(#[source] Arc<db::Error>),
    /// A peer service.
    #[error("a peer service failed")]
    Client(#[source] Arc<crate::clients::Error>),
    /// The request is refused.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// A defect: the row lock of an order did not keep others from changing it.
    #[error("an order changed while its row was locked")]
    LockedOrderChanged,
    /// A defect: a command of the writer had the outcome of another one.
    #[error("a command had an unexpected outcome")]
    UnexpectedOutcome,
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
        let unavailable = |detail: String| Self::new(Kind::Unavailable, detail).retry_after(1);
        match error {
            Error::Refused(problem) => problem,
            Error::Store(cause) if cause.is_unavailable() => {
                unavailable("The order store does not answer; try again.".into()).because(cause)
            }
            Error::Store(cause) => Self::internal(cause),
            Error::Client(cause) => {
                let problem = unavailable(format!("{cause}; try again.")).with_code("peer.unavailable");
                match cause.peer() {
                    Some(peer) => problem.with("peer", peer),
                    None => problem,
                }
                .because(cause)
            }
            Error::LockedOrderChanged | Error::UnexpectedOutcome => Self::internal(error),
            Error::Stopped => unavailable("This replica is stopping; try again.".into()),
        }
    }
}
