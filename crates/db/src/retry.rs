//! Doing a whole transaction again.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::Error;

/// Tries after the first.
const TRIES: usize = 4;

/// Runs a transaction that may be run again as a whole, and does so when the database refused it only because
/// of others (a deadlock, a serialization failure) or hung up. A commit whose answer was lost may have
/// happened: only what finds its own first run by an id or key may be given here.
pub async fn retry<T, E, F, Fut>(mut transaction: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: AsDb,
{
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(200))
        .with_factor(4.0)
        .with_jitter()
        .with_max_times(TRIES)
        .build();
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

/// An error that may hold one of the database's.
pub trait AsDb {
    /// That one.
    fn as_db(&self) -> Option<&Error>;
}

impl AsDb for Error {
    fn as_db(&self) -> Option<&Error> {
        Some(self)
    }
}
