//! The notification service as a process of its own.

fn main() -> std::process::ExitCode {
    chassis::main(notification::NAME, bus::CRASH_POINTS, notification::start)
}
