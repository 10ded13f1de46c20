//! `souk reports`: the summaries that reports are made of, beside the orders. `souk generate`: orders to try them with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use commerce::Timestamp;
use order::{generate::GenerateOptions, reports::SalesComparison};

use crate::{data, out::say};

/// What `souk reports` takes.
#[derive(Debug, Args)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Rebuild the sales summaries from the orders. The fleet may be running.
    Rebuild {
        /// Change nothing and print the differences. Exit status 1 if there are any.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Data folder of the fleet.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: PathBuf,
    /// URL of the order store, by default that of the data folder.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Place {
    fn url(self) -> String {
        self.store.unwrap_or_else(|| data::store_url(&self.data, order::NAME))
    }
}

/// Most differences that are printed.
const SHOWN: usize = 20;

/// Rebuilds or compares; false when it was only to be compared and something differs.
pub async fn run(command: Command) -> anyhow::Result<bool> {
    let Action::Rebuild { check, place } = command.action;
    let url = place.url();
    if check {
        let found = order::reports::compare(&url).await?;
        print(&found)?;
        let equal = found.differences.is_empty() && found.added == 0;
        if found.added > 0 {
            say!("{} confirmed orders are not in the summaries", found.added);
        }
        say!("{} rows: {}", found.rows, if equal { "equal to the orders" } else { "NOT equal to the orders" });
        return Ok(equal);
    }
    let found = order::reports::rebuild(&url).await?;
    print(&found)?;
    let (rows, added, differed) = (found.rows, found.added, found.differences.len());
    say!("{rows} rows: {added} missing orders added, {differed} rows corrected");
    Ok(true)
}

fn print(found: &SalesComparison) -> anyhow::Result<()> {
    for difference in found.differences.iter().take(SHOWN) {
        say!("{difference}");
    }
    if found.differences.len() > SHOWN {
        say!("and {} more", found.differences.len() - SHOWN);
    }
    Ok(())
}

/// What `souk generate` takes.
#[derive(Debug, Args)]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write generated orders of the last three years directly into the order store. Use such a store only to test reports: the
    /// orders have no events, stock or payments.
    Orders {
        /// Number of orders.
        #[arg(long, default_value_t = 1_000)]
        count: u64,
        /// Number of products.
        #[arg(long, default_value_t = 200)]
        products: u64,
        /// Number of stores, in addition to the logistics centre.
        #[arg(long, default_value_t = 5)]
        stores: u64,
        #[command(flatten)]
        place: Place,
    },
}

/// Generates.
pub async fn generate(command: Generate) -> anyhow::Result<()> {
    let What::Orders { count, products, stores, place } = command.what;
    let wanted = GenerateOptions { count, products, stores, until: Timestamp::now() };
    order::generate::orders(&place.url(), wanted, |made| {
        if made % 100_000 == 0 || made == count {
            say!("{made} orders");
        }
        Ok(())
    })
    .await
}
