//! Exponential back-off for retries.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

const SHORTEST: Duration = Duration::from_millis(50);
/// The longest pause of [`until_ok`].
const LONGEST: Duration = Duration::from_secs(10);

/// Endless pauses with jitter, doubling from 50 ms; none is longer than `longest`.
pub fn pauses(longest: Duration) -> impl Iterator<Item = Duration> + Send {
    pauses_between(SHORTEST, longest)
}

/// Endless pauses with jitter, doubling from `shortest`; none is longer than `longest`.
pub fn pauses_between(shortest: Duration, longest: Duration) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(shortest)
        // Jitter adds up to as much again.
        .with_max_delay(longest / 2)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Repeats `attempt` until it succeeds; `None` when the process stops first. Logs once each: the first failure, a failure
/// with another reason, and the recovery.
pub async fn until_ok<T, E, F, Fut>(what: &str, shutdown: &CancellationToken, mut attempt: F) -> Option<T>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut pauses = pauses(LONGEST);
    let mut last_reason: Option<String> = None;
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return None,
            outcome = attempt() => outcome,
        };
        match outcome {
            Ok(value) => {
                if last_reason.is_some() {
                    tracing::info!(what, "succeeds again");
                }
                return Some(value);
            }
            Err(err) => {
                let reason = err.to_string();
                if last_reason.as_ref() != Some(&reason) {
                    tracing::warn!(what, error = %reason, "fails; retrying");
                    last_reason = Some(reason);
                }
            }
        }
        let pause = pauses.next().unwrap_or(LONGEST);
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
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
