//! The rows of a contract, each tried by itself, and the table that tells how they went.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::{Answer, Audit, Fleet, drained};

/// What was tried of one dialect.
#[derive(Debug)]
pub struct Rows {
    dialect: &'static str,
    tried: Vec<(String, Option<String>)>,
}

impl Rows {
    /// Nothing yet.
    pub fn new(dialect: &'static str) -> Self {
        Self { dialect, tried: Vec::new() }
    }

    /// Tries a row; one that fails does not keep the others from being tried.
    pub async fn row(&mut self, name: &str, tried: impl Future<Output = Result<()>>) {
        let wrong = Box::pin(tried).await.err().map(|error| format!("{error:#}"));
        if let Some(wrong) = &wrong {
            eprintln!("{}: {name}: {wrong}", self.dialect);
        }
        self.tried.push((name.to_owned(), wrong));
    }

    /// Stops the fleet, audits it, prints the table, and fails if a row did.
    pub async fn finish(self, fleet: Fleet) -> Result<Audit> {
        let audited = drained(fleet).await;
        let failed: Vec<&str> =
            self.tried.iter().filter(|(_, wrong)| wrong.is_some()).map(|(name, _)| name.as_str()).collect();
        let (rows, passed) = (self.tried.len(), self.tried.len() - failed.len());
        let clean = if audited.is_ok() { "clean" } else { "NOT CLEAN" };
        eprintln!("\n| {:<16} | {rows:>3} rows | {passed:>3} passed | audit {clean} |", self.dialect);
        ensure!(failed.is_empty(), "{}: {} of {rows} rows failed: {failed:?}", self.dialect, failed.len());
        audited
    }
}

/// Runs the documented curls of a file word for word: what each printed, by its name. A command stands under a line
/// `# name`, and ends with an empty line.
pub async fn curl(file: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut told = Vec::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let Some((name, command)) = block.split_once('\n') else { bail!("no command: {block}") };
        let name = name.trim_start_matches('#').trim().to_owned();
        let done = Command::new("sh").args(["-c", command]).output().await?;
        ensure!(done.status.success(), "{name}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
        told.push((name, String::from_utf8(done.stdout)?));
    }
    Ok(told)
}

impl Answer {
    /// Whether status and JSON body are exactly these.
    pub fn is(&self, status: u16, body: &serde_json::Value) -> Result<()> {
        let found = self.expect(status)?;
        ensure!(&found == body, "{found} instead of {body}");
        Ok(())
    }
}
