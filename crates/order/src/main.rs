//! The order service as a process of its own.

fn main() -> std::process::ExitCode {
    chassis::main(order::NAME, &[order::CRASH_POINTS, bus::CRASH_POINTS].concat(), order::start)
}
