//! The customer service as its callers meet it: over HTTP, on a store of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod customers;
mod deleting;
mod prospects;
mod test_service;
mod users;
