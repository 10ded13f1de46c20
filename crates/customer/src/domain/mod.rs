//! Customers and users: what they are and what holds of them. No I/O, no clock.

mod change;
mod customer;
mod rules;
mod user;

pub(crate) use change::Change;
pub(crate) use customer::{Address, Customer, NewCustomer, Profile, search_text};
pub(crate) use rules::Rules;
pub(crate) use user::{Credentials, NewUser, User, check_roles};
