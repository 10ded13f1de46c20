//! The stock service as its callers see it: real gRPC, REST, bus and store.

mod catalogue;
mod edge;
mod goods;
mod house;
mod orders;
mod replenish;
