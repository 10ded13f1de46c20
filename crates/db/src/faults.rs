//! Faults for tests: what a store can do to a transaction at a bad time.

use std::{fmt, io, sync::Arc};

use crate::{Db, Error};

/// A moment of a write transaction at which a fault may be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before it begins.
    Begin,
    /// Before it is committed: its writes are lost.
    Commit,
    /// After it was committed: only the answer is lost.
    Committed,
}

/// Decides whether a transaction fails at a moment, as if its connection were lost there.
#[derive(Clone)]
pub(crate) struct Faults(Arc<dyn Fn(Point) -> bool + Send + Sync>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Faults {
    pub(crate) fn check(&self, point: Point) -> Result<(), Error> {
        if (self.0)(point) {
            return Err(Error::Unavailable(sqlx::Error::Io(io::ErrorKind::ConnectionReset.into())));
        }
        Ok(())
    }
}

impl Db {
    /// The same database, whose write transactions fail where `fails` says so.
    pub fn with_faults(mut self, fails: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        self.faults = Some(Faults(Arc::new(fails)));
        self
    }
}
