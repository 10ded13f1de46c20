//! The payment service as its callers see it: real gRPC, real store.

mod books;
mod doubt;
mod edge;
mod house;
