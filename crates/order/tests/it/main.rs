//! The order service through its REST API, with a real store and fake peer services.

mod amend;
mod carts;
mod external_orders;
mod refunds;
mod reports;
mod sales;
mod test_service;
mod withdrawals;
