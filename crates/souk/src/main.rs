//! Souk: the fleet in one process, and its command line.

mod bench;
mod dlq;
mod fleet;
mod import;
mod ports;
mod remote;
mod reports;
mod sample;
mod token;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use souk::{audit, data, out, out::say};

// Seven services allocate from many threads at once, where glibc's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The back office of a retailer with several shops.
#[derive(Debug, Parser)]
// What stands before a command would be meant for `up`, and be ignored.
#[command(version = chassis::RELEASE, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: up::Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole fleet in this process (the default command).
    Up(up::Command),
    /// Import a retailer's invoices into a running fleet.
    Import(import::Command),
    /// Check that stock, orders, payments and events are consistent; exit status 1 if they are not.
    Audit(audit::Command),
    /// Compare the summaries of the reports with the orders, or rebuild them.
    Reports(reports::Command),
    /// Generate test data.
    Generate(reports::Generate),
    /// List and replay messages that a service could not handle.
    Dlq(dlq::Command),
    /// Benchmark a running fleet.
    Bench(bench::Command),
    /// Load the sample data into the stores of a data folder, for services that run as separate processes.
    Sample(sample::Command),
    /// Print a new token of a user of the local fleet.
    Token(token::Command),
    /// Print the API description of a service, or of the gateway.
    Openapi(openapi::Command),
    /// List the valid names for SOUK_CRASH_AT.
    CrashPoints,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("souk: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("souk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or(Command::Up(cli.up)) {
        Command::Up(command) => Box::pin(up::run(command)).await?,
        Command::Import(command) => Box::pin(import::run(command)).await?,
        Command::Audit(command) => {
            if !Box::pin(audit::run(command)).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Reports(command) => {
            if !Box::pin(reports::run(command)).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Generate(command) => Box::pin(reports::generate(command)).await?,
        Command::Dlq(command) => Box::pin(dlq::run(command)).await?,
        Command::Bench(command) => Box::pin(bench::run(command)).await?,
        Command::Sample(command) => Box::pin(sample::run(command)).await?,
        Command::Token(command) => token::run(command).await?,
        Command::Openapi(command) => openapi::run(&command)?,
        Command::CrashPoints => say!("{}", fleet::crash_points().join("\n")),
    }
    Ok(ExitCode::SUCCESS)
}

/// `souk openapi`.
mod openapi {
    use clap::Args;

    use crate::out::say;

    /// What `souk openapi` takes.
    #[derive(Debug, Args)]
    pub struct Command {
        /// customer, product (its GraphQL schema), order, stock, payment, notification or gateway.
        service: String,
    }

    /// Prints the description.
    pub fn run(command: &Command) -> anyhow::Result<()> {
        let description = match command.service.as_str() {
            customer::NAME => customer::openapi(),
            order::NAME => order::openapi(),
            stock::NAME => stock::openapi(),
            payment::NAME => payment::openapi(),
            notification::NAME => notification::openapi(),
            // GraphQL has a language of its own for it.
            product::NAME => {
                say!("{}", product::sdl());
                return Ok(());
            }
            gateway::NAME => {
                say!("{}", serde_json::to_string_pretty(&gateway::openapi())?);
                return Ok(());
            }
            other => {
                anyhow::bail!("{other}: must be customer, product, order, stock, payment, notification or gateway")
            }
        };
        let described = chassis::with_problems(serde_json::to_value(&description)?);
        say!("{}", serde_json::to_string_pretty(&described)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_default_command_are_refused_before_another_one() {
        assert!(Cli::try_parse_from(["souk", "--data", "elsewhere"]).is_ok());
        assert!(Cli::try_parse_from(["souk", "audit", "--data", "elsewhere"]).is_ok());
        assert!(
            Cli::try_parse_from(["souk", "--data", "elsewhere", "audit"]).is_err(),
            "it would audit another folder"
        );
    }
}
