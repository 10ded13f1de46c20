//! The payment service through its interfaces: real gRPC, real store.

mod amounts;
mod api;
mod in_doubt;
mod service;
