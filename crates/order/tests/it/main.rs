//! The order service as its callers see it: real REST and store, with neighbours that say what the test wants.

mod amend;
mod carts;
mod foreign;
mod house;
mod reports;
mod sales;
