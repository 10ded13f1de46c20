//! Customers, users, prospects and activities: types and rules. No I/O, no clock.

mod activity;
mod change;
mod customer;
mod error;
mod prospect;
mod rules;
mod stage;
mod user;

pub(crate) use activity::{Activity, ActivityId, Day, Plan, Planned, ProspectEvent};
pub(crate) use change::Change;
pub(crate) use customer::{Address, Customer, NewCustomer, Profile, search_text};
pub(crate) use error::Error;
pub(crate) use prospect::{ERASED, Lead, LeadChange, Prospect, ProspectId};
pub(crate) use rules::Rules;
pub(crate) use stage::{Moved, Stage};
pub(crate) use user::{Credentials, NewUser, User, check_roles};
