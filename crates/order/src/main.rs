//! Starts the order service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main::<order::Order>()
}
