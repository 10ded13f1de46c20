//! What can go wrong with the server, in the terms of this service.

use std::future::{Future, IntoFuture};
use std::time::Duration;

use mongodb::error::{Error as Driver, ErrorKind, WriteFailure};

/// Longest wait for one answer. The driver bounds the search for a server and the making of a connection, but
/// not the silence of a server that has hung.
const PATIENCE: Duration = Duration::from_secs(6);
/// The server's code for a key that a unique index has already.
const DUPLICATE: i32 = 11_000;
/// Codes that say "not now": host unreachable or not found, network time-out, shutting down, primary stepped
/// down, exceeded time limit, write concern failed or unsatisfiable, not primary, no primary, interrupted
/// because of either, socket exception.
const NOT_NOW: [i32; 18] =
    [6, 7, 46, 50, 64, 89, 91, 100, 134, 189, 262, 9001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436];

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MongoError {
    /// No server that may write answers, or not in time, or not with a majority.
    #[error("the database does not answer")]
    Away(#[source] Option<Driver>),
    /// A unique index refused. What the server says of it holds the value, which may be personal, so it stays out.
    #[error("the unique index {0} refused the write")]
    Duplicate(String),
    /// The URL asks for what this service cannot promise its callers on.
    #[error("{0}")]
    Url(String),
    /// The server is none that this service can work with.
    #[error("{0}")]
    Server(String),
    /// A defect, or a document that another program wrote.
    #[error("a database operation failed")]
    Defect(#[source] Driver),
}

impl MongoError {
    /// Whether the same may work later.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Whether the data of the write is at fault: a unique index or the schema of the collection refused it.
    pub(crate) fn is_of_data(&self) -> bool {
        const VALIDATION_FAILED: i32 = 121;
        match self {
            Self::Duplicate(_) => true,
            Self::Defect(error) => match error.kind.as_ref() {
                ErrorKind::Write(WriteFailure::WriteError(failed)) => failed.code == VALIDATION_FAILED,
                _ => false,
            },
            _ => false,
        }
    }

    /// The name of the unique index that refused, if one did.
    pub(crate) fn duplicate(&self) -> Option<&str> {
        match self {
            Self::Duplicate(index) => Some(index),
            _ => None,
        }
    }
}

impl From<Driver> for MongoError {
    fn from(error: Driver) -> Self {
        let (code, message) = match error.kind.as_ref() {
            ErrorKind::Command(failed) => (failed.code, failed.message.as_str()),
            ErrorKind::Write(WriteFailure::WriteError(failed)) => (failed.code, failed.message.as_str()),
            // It was written, but not yet by a majority: what becomes of it is not known.
            ErrorKind::Write(WriteFailure::WriteConcernError(_))
            | ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Shutdown => return Self::Away(Some(error)),
            _ => return Self::Defect(error),
        };
        match code {
            DUPLICATE => Self::Duplicate(index_name(message).to_owned()),
            _ if NOT_NOW.contains(&code) || error.contains_label("RetryableWriteError") => Self::Away(Some(error)),
            _ => Self::Defect(error),
        }
    }
}

/// `… index: NAME dup key: …`
fn index_name(message: &str) -> &str {
    let after = message.split_once("index: ").map_or("", |(_, after)| after);
    after.split(' ').next().unwrap_or_default()
}

/// Runs an operation and waits for its answer, but not for ever.
pub(crate) async fn within<T, A>(action: A) -> Result<T, MongoError>
where
    A: IntoFuture<Output = Result<T, Driver>>,
{
    in_time(async { Ok(action.await?) }).await
}

/// The same for several operations that make one answer, as a list and its pages.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T, MongoError>>) -> Result<T, MongoError> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(MongoError::Away(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_that_refused_is_named_without_the_value() {
        let message = "Plan executor error :: caused by :: E11000 duplicate key error collection: c.users index: \
                       users_email_lower_key dup key: { email_lower: \"bob@example.org\" }";
        assert_eq!(index_name(message), "users_email_lower_key");
        assert_eq!(index_name("nothing of the kind"), "");
    }
}
