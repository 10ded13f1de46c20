//! The notification service as its callers have it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod reports;
mod test_service;
