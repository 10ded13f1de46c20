//! Retries of whole transactions.

use std::{future::Future, time::Duration};

use chassis::backoff;

use crate::Error;

/// Retries after the first attempt.
const RETRIES: usize = 4;

/// Runs a transaction, and retries it as a whole after a conflict with another one (a deadlock, a serialization failure) or a
/// lost connection. If the response to a commit was lost, the commit may have succeeded: only transactions that detect their
/// own earlier run, by an id or key, may be passed here.
pub async fn retry<T, E, F, Fut>(mut transaction: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: AsDb,
{
    let mut pauses = backoff::pauses_between(Duration::from_millis(5), Duration::from_millis(400)).take(RETRIES);
    loop {
        match transaction().await {
            Err(error) if error.as_db().is_some_and(Error::is_transient) => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            },
            done => return done,
        }
    }
}

/// An error that may contain a database error.
pub trait AsDb {
    /// The database error, if it is one.
    fn as_db(&self) -> Option<&Error>;
}

impl AsDb for Error {
    fn as_db(&self) -> Option<&Error> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, ErrorKind},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    async fn attempts(kind: ErrorKind) -> usize {
        let attempts = AtomicUsize::new(0);
        let failed = retry(|| async {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(Error::Unavailable(sqlx::Error::Io(io::Error::from(kind))))
        });
        assert!(failed.await.is_err());
        attempts.into_inner()
    }

    #[tokio::test]
    async fn a_lost_connection_is_tried_again_and_an_unreachable_server_is_not() {
        assert_eq!(attempts(ErrorKind::ConnectionReset).await, RETRIES + 1);
        for unreachable in [ErrorKind::ConnectionRefused, ErrorKind::TimedOut] {
            assert_eq!(attempts(unreachable).await, 1, "{unreachable}: its caller would wait for nothing");
        }
    }
}
