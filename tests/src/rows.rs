//! The rows of a dialect's contract: each is tested separately, and the results are printed as a table.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::{Audit, Fleet, Response, drain_and_audit};

/// The results of one dialect's rows.
#[derive(Debug)]
pub struct Rows {
    dialect: &'static str,
    results: Vec<(String, Option<String>)>,
}

impl Rows {
    /// No results yet.
    pub fn new(dialect: &'static str) -> Self {
        Self { dialect, results: Vec::new() }
    }

    /// Tests a row. The rows after one that fails are tested all the same.
    pub async fn row(&mut self, name: &str, test: impl Future<Output = Result<()>>) {
        let error = Box::pin(test).await.err().map(|error| format!("{error:#}"));
        if let Some(error) = &error {
            eprintln!("{}: {name}: {error}", self.dialect);
        }
        self.results.push((name.to_owned(), error));
    }

    /// Stops the fleet, audits it, prints the table, and fails if a row failed.
    pub async fn finish(self, fleet: Fleet) -> Result<Audit> {
        let audited = drain_and_audit(fleet).await;
        let failed: Vec<&str> =
            self.results.iter().filter(|(_, error)| error.is_some()).map(|(name, _)| name.as_str()).collect();
        let (rows, passed) = (self.results.len(), self.results.len() - failed.len());
        let clean = if audited.is_ok() { "clean" } else { "NOT CLEAN" };
        eprintln!("\n| {:<16} | {rows:>3} rows | {passed:>3} passed | audit {clean} |", self.dialect);
        ensure!(failed.is_empty(), "{}: {} of {rows} rows failed: {failed:?}", self.dialect, failed.len());
        audited
    }
}

/// Runs the documented curl commands of a file unchanged: returns the output of each with its name. A line `# name` comes before a
/// command, and an empty line after it.
pub async fn run_curls(file: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut outputs = Vec::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let Some((name, command)) = block.split_once('\n') else { bail!("no command: {block}") };
        let name = name.trim_start_matches('#').trim().to_owned();
        let output = Command::new("sh").args(["-c", command]).output().await?;
        ensure!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        outputs.push((name, String::from_utf8(output.stdout)?));
    }
    Ok(outputs)
}

impl Response {
    /// Checks that status and JSON body are exactly these.
    pub fn is(&self, status: u16, body: &serde_json::Value) -> Result<()> {
        let found = self.expect(status)?;
        ensure!(&found == body, "{found} instead of {body}");
        Ok(())
    }
}
