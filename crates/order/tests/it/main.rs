//! The order service as its callers see it: real REST and store, with rest_peers that say what the test wants.

mod amend;
mod carts;
mod external_orders;
mod reports;
mod sales;
mod test_service;
