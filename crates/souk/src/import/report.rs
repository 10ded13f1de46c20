//! What an import did: a summary whose counts add up to the file's lines, and a report of what was not taken.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::Context;
use serde::Serialize;

use super::{feed::Fed, plan::Plan};
use crate::out::say;

/// The counts of an import.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    lines: u64,
    sold_lines: u64,
    returned_lines: u64,
    refused_lines: u64,
    refused_by_reason: BTreeMap<String, u64>,
    products: usize,
    customers: usize,
    orders: usize,
    orders_new: usize,
    returns: usize,
    returns_new: usize,
    seconds: f64,
    orders_per_second: f64,
    report: String,
}

/// Opens the report file.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write {}; choose another file with --report", path.display()))
}

/// Writes the report file and counts.
pub(crate) fn write(file: File, path: &Path, plan: &Plan, fed: &Fed, seconds: f64) -> anyhow::Result<Summary> {
    let mut refused = plan.refused.clone();
    refused.extend(fed.refused.iter().cloned());
    refused.sort_by_key(|line| line.line);
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(["line", "invoice", "code", "reason"])?;
    let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
    for line in &refused {
        writer.write_record([&line.line.to_string(), &line.invoice, &line.code, &line.reason])?;
        *by_reason.entry(line.reason.clone()).or_default() += 1;
    }
    writer.flush()?;
    let summary = Summary {
        lines: plan.lines,
        sold_lines: fed.sold_lines,
        returned_lines: fed.returned_lines,
        refused_lines: refused.len() as u64,
        refused_by_reason: by_reason,
        products: plan.products.len(),
        customers: plan.customers.len(),
        orders: fed.orders,
        orders_new: fed.orders_new,
        returns: fed.returns,
        returns_new: fed.returns_new,
        seconds,
        orders_per_second: fed.orders as f64 / fed.order_seconds.max(0.001),
        report: path.display().to_string(),
    };
    let counted = summary.sold_lines + summary.returned_lines + summary.refused_lines;
    anyhow::ensure!(
        counted == summary.lines,
        "the counts do not add up: {counted} of {} lines; see {}",
        summary.lines,
        path.display()
    );
    Ok(summary)
}

/// Prints the summary.
pub(crate) fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    say!("lines      {:>7}", summary.lines);
    say!("  sold     {:>7}  in {} orders ({} new)", summary.sold_lines, summary.orders, summary.orders_new);
    say!("  returned {:>7}  in {} returns ({} new)", summary.returned_lines, summary.returns, summary.returns_new);
    say!("  refused  {:>7}  see {}", summary.refused_lines, summary.report);
    for (reason, count) in &summary.refused_by_reason {
        say!("           {count:>7}  {reason}");
    }
    say!("products   {:>7}", summary.products);
    say!("customers  {:>7}", summary.customers);
    say!("{:.1} s, {:.0} orders a second", summary.seconds, summary.orders_per_second);
    Ok(())
}
