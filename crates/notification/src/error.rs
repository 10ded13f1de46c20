//! The errors of this service and their kinds.

use chassis::{Kind, Problem};

/// A failure of the notification service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store failed.
    #[error("the notification store failed")]
    Store(#[from] db::Error),
}

impl From<Error> for Problem {
    fn from(Error::Store(error): Error) -> Self {
        match error {
            db::Error::Unavailable(_) => {
                Self::new(Kind::Unavailable, "The notification store does not answer; try again.")
                    .retry_after(1)
                    .because(error)
            }
            error => Self::internal(error),
        }
    }
}
