//! Feeds a retailer's invoices through a running fleet's public API.

mod feed;
mod plan;
mod report;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::remote::{Remote, Target};

/// What `souk import` takes.
#[derive(Debug, Args)]
pub struct Command {
    /// Format of the file.
    format: Format,
    /// The file, plain or gzipped.
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// File for the lines that are refused, by default FILE.report.csv in the data folder (with --gateway in the current folder).
    #[arg(long)]
    report: Option<PathBuf>,
    /// Currency of the file's prices.
    #[arg(long, default_value = "GBP")]
    currency: commerce::Currency,
    /// Number of concurrent orders.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Formats that can be read.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// The UCI data set "Online Retail": InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice,
    /// CustomerID, Country.
    OnlineRetail,
}

/// Runs the import.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let Format::OnlineRetail = command.format;
    let bytes = plan::load(&command.file)?;
    let plan = plan::Plan::read(&bytes)?;
    let remote = Remote::connect(&command.target).await?;
    let report_path = command.report.unwrap_or_else(|| {
        let name = command.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Beside the data of a local fleet; in this folder for a fleet that is elsewhere.
        let folder = if command.target.gateway.is_some() { PathBuf::from(".") } else { command.target.data.clone() };
        folder.join(format!("{name}.report.csv"))
    });
    // Opened before anything is sent: an import without its report would be half an import.
    let report_file = report::open(&report_path)?;
    let begun = std::time::Instant::now();
    let fed = feed::feed(&remote, &plan, command.currency, usize::from(command.concurrency), command.json).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let summary = report::write(report_file, &report_path, &plan, &fed, seconds)?;
    report::print(&summary, command.json)
}
