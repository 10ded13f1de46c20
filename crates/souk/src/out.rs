//! Answers on stdout.

use std::io::{ErrorKind, Write};

/// Prints a command's answer. A reader that has seen enough (`souk audit | head`) is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a line of an answer, as `println!` does but without its panic when the reader has gone.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::out::print(&format!("{}\n", format_args!($($text)*)))?
    };
}
pub use say;
