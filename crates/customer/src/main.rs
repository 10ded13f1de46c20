//! Starts the customer service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(customer::NAME, customer::CRASH_POINTS, customer::start)
}
