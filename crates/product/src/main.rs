//! Starts the product service in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main::<product::Product>()
}
