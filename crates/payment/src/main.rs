//! Starts the payment service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(payment::NAME, payment::CRASH_POINTS, payment::start)
}
