//! Waiting longer and longer for what is not there yet.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

/// Capped exponential delays with jitter, without end: 50 ms doubling up to 5 s.
fn forever() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

/// The same one after the other, none longer than this.
pub fn pauses(longest: Duration) -> impl Iterator<Item = Duration> + Send {
    // Jitter adds up to as much again.
    forever().with_max_delay(longest / 2).build()
}

/// Tries until it works; `None` when the process stops first. Says so when it starts to fail, when the
/// reason changes, and when it works again: once each.
pub async fn until_ok<T, E, F, Fut>(what: &str, shutdown: &CancellationToken, mut attempt: F) -> Option<T>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut delays = forever().build();
    let mut last: Option<String> = None;
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return None,
            outcome = attempt() => outcome,
        };
        match outcome {
            Ok(value) => {
                if last.is_some() {
                    tracing::info!(what, "works again");
                }
                return Some(value);
            }
            Err(err) => {
                let reason = err.to_string();
                if last.as_ref() != Some(&reason) {
                    tracing::warn!(what, error = %reason, "fails, trying again");
                    last = Some(reason);
                }
            }
        }
        let delay = delays.next().unwrap_or(Duration::from_secs(5));
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_no_two_rows_of_them_are_equal() {
        let longest = Duration::from_secs(2);
        let row = || pauses(longest).take(50).collect::<Vec<_>>();
        let first = row();
        assert!(first[0] >= Duration::from_millis(50) && first.iter().all(|pause| *pause <= longest), "{first:?}");
        assert!(first[10..].iter().all(|pause| *pause >= longest / 2), "{first:?}");
        assert_ne!(first, row());
    }
}
