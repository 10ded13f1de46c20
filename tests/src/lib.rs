//! The harness of the end-to-end tests: runs the real `souk` binary as a child process, and calls it as a client.
//!
//! The binary is `target/<profile>/souk` in the profile of the test executable (built by `cargo build -p souk`), or the path in
//! `SOUK_BIN`.

mod audit;
mod client;
mod fleet;
mod load;
mod postgres_proxy;
mod processes;
mod rows;
mod servers;
mod tcp_proxy;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use audit::{Audit, audit, command, drain_and_audit, publish, read_topic, souk, souk_text};
pub use client::{Client, Response, Unavailable};
pub use fleet::{Fleet, on_servers};
pub use load::{Load, LoadResult, SANDBOX_LIMIT, order_body};
pub use postgres_proxy::{CommitFault, PostgresProxy};
pub use processes::{Processes, SERVICES};
pub use rows::{Rows, run_curls};
pub use servers::{Server, Servers, Stores, path_from_env};
pub use testkit::free_port;

/// Time-out of [`eventually`] and of other waits, long enough for a loaded machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Polls until `poll` returns a value; fails after [`TIMEOUT`]. It polls again after an [`Unavailable`] response or a transport
/// error; any other error is returned at once.
pub async fn eventually<T, F>(what: &str, mut poll: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        let result = poll().await;
        match result {
            Ok(Some(found)) => return Ok(found),
            Err(error) if !error.chain().any(|cause| cause.is::<Unavailable>() || cause.is::<reqwest::Error>()) => {
                return Err(error);
            }
            _ => {}
        }
        if started.elapsed() > TIMEOUT {
            result.with_context(|| format!("after {TIMEOUT:?} still not: {what}"))?;
            bail!("after {TIMEOUT:?} still not: {what}");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Copies the files of a data folder on which no fleet is running.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
