//! Starts the stock service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(stock::NAME, stock::CRASH_POINTS, stock::start)
}
