//! The services in one thread, with simulated time, network, disks and crashes.

mod client;
mod disk;
mod fleet;
mod goods;
mod host;
mod machine;
mod network;
mod random;
mod simulation;
mod trace;
mod verdict;
mod workload;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::trace::Trace;

/// Runs order, stock, payment, product, customer and notification in one thread, with simulated time, network and disks. A seed
/// determines everything that happens. Fails if the audit is not clean, an order is not terminal, or a client was told something that is
/// not so.
#[derive(Debug, Parser)]
struct Arguments {
    /// What determines everything that happens.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many orders are placed.
    #[arg(long, default_value_t = 1_000)]
    orders: u64,
    /// How many runs are made, one after the other, each in a process of its own and with the next seed.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Print every event.
    #[arg(long)]
    events: bool,
    /// Print the services' log, from this level on.
    #[arg(long)]
    log: Option<tracing::Level>,
    /// Where the stores are made, instead of a temporary folder; they are kept.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(level) = arguments.log {
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    }
    if arguments.runs > 1 {
        return run_many(&arguments);
    }
    let folder = match Folder::make(arguments.keep.clone()) {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("simulator: no folder for the stores: {error}");
            return ExitCode::FAILURE;
        }
    };
    // On a thread of its own: hash maps that this one has made have keys that the seed does not determine.
    match std::thread::spawn(move || run(&arguments, &folder)).join() {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            eprintln!("simulator: {error:#}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Makes many runs. Prints the last line of each, and everything of one that fails.
fn run_many(arguments: &Arguments) -> ExitCode {
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed + arguments.runs {
        let run = std::env::current_exe().and_then(|program| {
            let (seed, orders) = (seed.to_string(), arguments.orders.to_string());
            std::process::Command::new(program).args(["--seed", &seed, "--orders", &orders]).output()
        });
        let (clean, printed) = match run {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                (output.status.success(), String::from_utf8_lossy(&text).into_owned())
            }
            Err(error) => (false, format!("seed {seed} was not run: {error}")),
        };
        failed += u64::from(!clean);
        say(if clean { printed.lines().last().unwrap_or_default() } else { &printed });
    }
    say(&format!("{} runs of {} orders, {failed} failed", arguments.runs, arguments.orders));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments, folder: &Folder) -> anyhow::Result<bool> {
    let begun = machine::real_time();
    machine::simulate(arguments.seed);
    let trace = Trace::new(arguments.events);
    let report = simulation::run(arguments.seed, arguments.orders, &folder.path, &trace)?;
    for (kind, count) in trace.counts() {
        say(&format!("{count:>9}  {kind}"));
    }
    for finding in &report.findings {
        say(&format!("FAIL  {finding}"));
    }
    say(&format!(
        "seed {}, {} orders: {} findings, trace {:016x}, {:.0} simulated seconds in {:.1} s",
        arguments.seed,
        arguments.orders,
        report.findings.len(),
        trace.digest(),
        report.simulated.as_secs_f64(),
        (machine::real_time() - begun).as_secs_f64(),
    ));
    Ok(report.findings.is_empty())
}

/// The folder of the stores.
struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// In memory where that is possible: a sync costs nothing there, and the simulation itself decides what is lost without one.
    fn make(keep: Option<PathBuf>) -> std::io::Result<Self> {
        if let Some(path) = keep {
            std::fs::create_dir_all(&path)?;
            return Ok(Self { path, _temporary: None });
        }
        let memory = PathBuf::from("/dev/shm");
        let temporary = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
    }
}

fn say(text: &str) {
    use std::io::Write as _;
    // A reader that has seen enough is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}
