//! The harness of the end-to-end tests: the real `souk` binary as a child process, and its clients.
//!
//! The binary is the one beside the test executable (`target/<profile>/souk`, built by `cargo build -p souk`),
//! or the one that `SOUK_BIN` names.

mod audit;
mod client;
mod door;
mod fleet;
mod load;
mod processes;
mod rows;
mod servers;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use audit::{Audit, audit, drained, publish, souk, souk_text, topic};
pub use client::{Answer, Away, Client};
pub use fleet::{Fleet, on_servers};
pub use load::{Heard, LIMIT, Load, body};
pub use processes::{Processes, SERVICES};
pub use rows::{Rows, curl};
pub use servers::{Server, Servers, Stores, given};

/// How long anything may take that is only a matter of time, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; fails when there is none in time. Who is [away](Away) now, or cannot be reached,
/// may answer later; any other error is one.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let begun = Instant::now();
    loop {
        let asked = ask().await;
        match asked {
            Ok(Some(found)) => return Ok(found),
            Err(error) if !error.chain().any(|cause| cause.is::<Away>() || cause.is::<reqwest::Error>()) => {
                return Err(error);
            }
            _ => {}
        }
        if begun.elapsed() > PATIENCE {
            asked.with_context(|| format!("after {PATIENCE:?} still not: {what}"))?;
            bail!("after {PATIENCE:?} still not: {what}");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Copies the files of a data folder that nobody runs on.
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
