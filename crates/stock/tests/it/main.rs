//! The stock service through its interfaces: real gRPC, REST, bus and store.

mod api;
mod catalogue;
mod order_events;
mod replenishments;
mod reservations;
mod service;
