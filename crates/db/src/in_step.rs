//! SQLite in step with a simulation: a statement is one step of the thread that runs it.
//!
//! sqlx runs each SQLite connection on a thread of its own. In a simulation with virtual time nothing may happen while such a
//! thread works, or the order of events would depend on the machine. So the caller's thread is blocked until it has
//! answered, and connections are not kept by sqlx's pool, which returns them by background tasks. Transactions still wait for
//! each other, since waiting for a turn is not waiting for a thread.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Options, Result, sqlite};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread, which is blocked while another thread works for it.
pub(crate) fn finish<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Runs a statement to its end. After an error its thread is still about to end the statement, so that is waited for.
pub(crate) fn run<T>(
    connection: &mut SqliteConnection,
    statement: impl AsyncFnOnce(&mut SqliteConnection) -> std::result::Result<T, sqlx::Error>,
) -> std::result::Result<T, sqlx::Error> {
    finish(async {
        let done = statement(connection).await;
        if done.is_err() {
            // The error of the statement is the one that counts.
            let _ = connection.ping().await;
        }
        done
    })
}

/// The connections to one file.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) writer: Turns,
    pub(crate) readers: Turns,
    /// Whether the last write failed because of the disk.
    pub(crate) disk_failed: Arc<AtomicBool>,
}

impl Connections {
    pub(crate) fn new(path: &str, options: &Options) -> Result<Self> {
        let connect = sqlite::connect_options(path, options)?;
        let turns = |count| Turns::new(connect.clone(), count, options.timeout);
        Ok(Self { writer: turns(1), readers: turns(options.readers.max(1)), disk_failed: Arc::default() })
    }
}

/// The writer, or the readers, of which each use waits for its turn.
#[derive(Debug)]
pub(crate) struct Turns {
    options: SqliteConnectOptions,
    timeout: Duration,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<SqliteConnection>>>,
}

impl Turns {
    pub(crate) fn new(options: SqliteConnectOptions, count: u32, timeout: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(count as usize));
        Self { options, timeout, turns, idle: Arc::default() }
    }

    /// A connection, when it is this caller's turn.
    pub(crate) async fn acquire(&self) -> Result<Lease> {
        let turn = tokio::time::timeout(self.timeout, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::Unavailable(sqlx::Error::PoolTimedOut))?;
        let turn = turn.map_err(|_| Error::Unavailable(sqlx::Error::PoolClosed))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => finish(self.options.connect())?,
        };
        Ok(Lease { connection: Some(connection), began: false, idle: Arc::clone(&self.idle), _turn: turn })
    }

    /// A transaction that begins with this statement.
    pub(crate) async fn begin(&self, statement: &'static str) -> Result<Lease> {
        let mut lease = self.acquire().await?;
        run(lease.connection(), async |connection| sqlx::query(statement).execute(connection).await)?;
        lease.began = true;
        Ok(lease)
    }

    /// Closes the connections that nobody uses, and refuses further use.
    pub(crate) fn close(&self) {
        self.turns.close();
        for connection in std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner)) {
            // The process that opened it does not need it any more.
            let _ = finish(connection.close());
        }
    }
}

/// A connection in use; it goes back when this is dropped, and what was not committed is rolled back.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Option<SqliteConnection>,
    began: bool,
    idle: Arc<Mutex<Vec<SqliteConnection>>>,
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a lease has its connection until it is dropped")
    }

    /// Commits its transaction.
    pub(crate) fn commit(mut self) -> std::result::Result<(), sqlx::Error> {
        run(self.connection(), async |connection| sqlx::query("COMMIT").execute(connection).await)?;
        self.began = false;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // SQLite may have rolled back by itself. As in the pool, such a connection is replaced.
        let rollback = async |connection: &mut SqliteConnection| sqlx::query("ROLLBACK").execute(connection).await;
        if self.began && run(&mut connection, rollback).is_err() {
            let _ = finish(connection.close_hard());
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
