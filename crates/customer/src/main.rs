//! Starts the customer service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main::<customer::Customer>()
}
