//! Deadline propagation: no service works on a request whose caller has given up.
//!
//! A caller sends how long it waits: gRPC by `grpc-timeout`
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>), HTTP by `x-timeout-ms`. The service stops processing
//! when that time has passed, and its own calls to peers get at most the time that remains.

use std::{future::Future, time::Duration};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{Callers, Kind, Problem};

/// The header with the time that the caller waits, in milliseconds.
pub const X_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-timeout-ms");

// Set for the task that processes one request; no state that services share.
tokio::task_local! { static DEADLINE: Instant; }

/// The time that remains for the current request; `None` if its caller sent no deadline.
pub fn left() -> Option<Duration> {
    DEADLINE.try_with(|deadline| deadline.saturating_duration_since(Instant::now())).ok()
}

/// The smaller of `most` and the time that remains for the current request.
pub fn within(most: Duration) -> Duration {
    left().map_or(most, |left| left.min(most))
}

/// As [`within`], but reserves a tenth of the remaining time, for a wait that ends with a "not yet" response: that response
/// must reach the caller in time.
pub fn within_to_answer(most: Duration) -> Duration {
    left().map_or(most, |left| most.min(left * 9 / 10))
}

/// Adds the deadline header to a request to another service.
pub fn inject(headers: &mut HeaderMap, timeout: Duration) {
    headers.insert(X_TIMEOUT_MS, HeaderValue::from(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
}

async fn bounded<T>(timeout: Duration, work: impl Future<Output = T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    tokio::time::timeout_at(deadline, DEADLINE.scope(deadline, work)).await.ok()
}

pub(crate) async fn http(State(callers): State<Callers>, request: Request, next: Next) -> Response {
    let timeout = request.headers().get(X_TIMEOUT_MS).and_then(|value| value.to_str().ok()?.parse().ok());
    match timeout {
        Some(timeout) => bounded(Duration::from_millis(timeout), next.run(request)).await.unwrap_or_else(|| {
            // A stranger who waits for less than the answer takes is no reason for an alarm.
            let kind = if callers == Callers::Anybody { Kind::RequestTimeout } else { Kind::Timeout };
            Problem::new(kind, "The time that the request gives by x-timeout-ms is over; what was begun may go on.")
                .into_response()
        }),
        None => next.run(request).await,
    }
}

pub(crate) async fn grpc(request: Request, next: Next) -> Response {
    let timeout = request.headers().get("grpc-timeout").and_then(|value| grpc_timeout(value.to_str().ok()?));
    match timeout {
        Some(timeout) => bounded(timeout, next.run(request))
            .await
            .unwrap_or_else(|| tonic::Status::deadline_exceeded("the caller's time is over").into_http()),
        None => next.run(request).await,
    }
}

/// At most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_as_the_protocol_writes_them() {
        for (text, wanted) in [
            ("2S", Some(Duration::from_secs(2))),
            ("150m", Some(Duration::from_millis(150))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("1H", Some(Duration::from_secs(3_600))),
            ("", None),
            ("S", None),
            ("2s", None),
            ("123456789S", None),
            ("é", None),
        ] {
            assert_eq!(grpc_timeout(text), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_asked_of_others_takes_no_longer_than_what_is_left() {
        assert_eq!(within(Duration::from_secs(2)), Duration::from_secs(2));
        let left = bounded(Duration::from_millis(500), async { within(Duration::from_secs(2)) }).await.unwrap();
        assert!(left <= Duration::from_millis(500) && left > Duration::from_millis(100), "{left:?}");
        let over = bounded(Duration::from_millis(10), tokio::time::sleep(Duration::from_secs(5))).await;
        assert!(over.is_none());
    }
}
