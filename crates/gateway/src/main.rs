//! The gateway as a process of its own.

fn main() -> std::process::ExitCode {
    chassis::main(gateway::NAME, &[], gateway::start)
}
