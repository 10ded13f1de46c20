//! The payment service as its callers see it: real gRPC, real store.

mod amounts;
mod api;
mod in_doubt;
mod service;
