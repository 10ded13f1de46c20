//! The product service as its callers meet it: GraphQL over HTTP, on a store of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod attacks;
mod limits;
mod over_http;
mod products;
mod test_service;
