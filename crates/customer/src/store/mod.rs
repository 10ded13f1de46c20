//! The store of the service, with two implementations: SQL and MongoDB.

#[cfg(test)]
mod conformance;
mod facts;
mod leads;
mod mongo;
mod open;
mod sql;

use std::time::Duration;

use bus::outbox::OutboxDump;
use commerce::page::PageRequest;
use commerce::{CustomerId, UserId};
use futures::future::BoxFuture;
use idempotency::{Key, StoredResponse};

use crate::domain::{Change, Customer, NewCustomer, NewUser, User};
use crate::error::Error;

pub use facts::{CustomerFact, LeadFact};
pub(crate) use leads::{Activities, Edit, Leads, Prospects, Step};
pub(crate) use open::{Opened, open, open_to_read};

/// The result of a call of the store.
pub(crate) type StoreFuture<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Renders the response to a creation, so that it can be stored in the same transaction.
pub(crate) type Render<T> = fn(&T, created: bool) -> StoredResponse;

/// The filter and page of a list of customers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) ids: Vec<String>,
    pub(crate) email: Option<String>,
    pub(crate) search: Option<String>,
    pub(crate) number: Option<i64>,
    /// Highest numbers first.
    pub(crate) newest_first: bool,
}

/// How long temporary data is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Events, since they were published.
    pub(crate) events: Duration,
    /// Responses stored for repeated requests.
    pub(crate) replies: Duration,
}

impl Filter {
    /// Whether a text of the filter contains NUL, which SQL engines take for the end of the text or refuse.
    fn is_futile(&self) -> bool {
        let texts = self.ids.iter().chain(&self.email).chain(&self.search);
        texts.into_iter().any(|text| text.contains('\0'))
    }
}

/// The store. A write and its event are atomic: both are stored, or neither.
pub(crate) trait Store: Leads {
    /// Creates a customer; a repeat (by key, or by id with the same payload) changes nothing.
    fn create_customer(
        &self,
        new: NewCustomer,
        key: Option<Key>,
        render: Render<Customer>,
    ) -> StoreFuture<'_, StoredResponse>;
    /// One customer.
    fn customer<'a>(&'a self, id: &'a CustomerId) -> StoreFuture<'a, Option<Customer>>;
    /// A page of customers in the order of their numbers, and the total if requested.
    fn customers(&self, filter: Filter, window: PageRequest<i64>) -> StoreFuture<'_, (Vec<Customer>, Option<u64>)>;
    /// Changes a profile; a change without effect is not recorded.
    fn change_customer<'a>(
        &'a self,
        id: &'a CustomerId,
        seen: Option<i64>,
        change: Change,
    ) -> StoreFuture<'a, Customer>;
    /// Removes all personal data: from the customer, its user, stored responses and events. Returns the ids of
    /// the tokens revoked by it.
    fn anonymise_customer<'a>(&'a self, id: &'a CustomerId, seen: Option<i64>) -> StoreFuture<'a, Vec<String>>;
    /// The audit's facts about the customers after an id.
    fn customer_facts<'a>(&'a self, after: &'a str) -> StoreFuture<'a, Vec<CustomerFact>>;

    /// Creates a user, and its customer if requested.
    fn create_user(
        &self,
        new: NewUser,
        key: Option<Key>,
        render: Render<User>,
    ) -> StoreFuture<'_, (Option<User>, StoredResponse)>;
    /// The response stored under this key.
    fn user_reply<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<StoredResponse>>;
    /// One user.
    fn user<'a>(&'a self, id: &'a UserId) -> StoreFuture<'a, Option<User>>;
    /// The user with that name or e-mail address.
    fn user_by_login<'a>(&'a self, login: &'a str) -> StoreFuture<'a, Option<User>>;
    /// A page of users in the order of their ids, and the total if requested.
    fn users(&self, window: PageRequest<String>) -> StoreFuture<'_, (Vec<User>, Option<u64>)>;
    /// Replaces the roles of a user and revokes its tokens; returns the user and their ids.
    fn set_roles<'a>(
        &'a self,
        id: &'a UserId,
        roles: Vec<auth::Role>,
        stores: Vec<String>,
    ) -> StoreFuture<'a, (User, Vec<String>)>;

    /// Records an issued token.
    fn note_token<'a>(&'a self, jti: &'a str, user: &'a UserId, expires_at: i64) -> StoreFuture<'a, ()>;
    /// Revokes a token.
    fn revoke_token<'a>(&'a self, jti: &'a str, user: &'a str, expires_at: i64) -> StoreFuture<'a, ()>;
    /// Revokes all tokens of a user and returns their ids.
    fn end_tokens<'a>(&'a self, user: &'a UserId) -> StoreFuture<'a, Vec<String>>;
    /// Revoked tokens that have not expired, with their expiry in seconds since 1970.
    fn revoked_tokens(&self) -> StoreFuture<'_, Vec<(String, i64)>>;
    /// The signing keys (PKCS#8 in base64), newest first.
    fn signing_keys(&self) -> StoreFuture<'_, Vec<String>>;
    /// Stores a new signing key.
    fn add_signing_key<'a>(&'a self, kid: &'a str, pkcs8: &'a str) -> StoreFuture<'a, ()>;
    /// The events that are kept, each customer's in order, and whether older ones were pruned.
    fn told(&self) -> StoreFuture<'_, OutboxDump>;
    /// The periodic jobs that prune old data, for one replica at a time.
    fn jobs(&self, keep: Retention) -> Vec<upkeep::Job>;
    /// Finishes operations that a crash interrupted; returns how many.
    fn resume(&self) -> StoreFuture<'_, u64>;
    /// Whether the database answers.
    fn ping(&self) -> StoreFuture<'_, ()>;
    /// Closes the connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}
