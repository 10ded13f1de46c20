//! Starts the product service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(product::NAME, product::CRASH_POINTS, product::start)
}
