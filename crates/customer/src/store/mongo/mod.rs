//! The store on MongoDB 6 or later, stand-alone or a replica set, without transactions.
//!
//! Every write is one operation on one document. A change of several documents is a sequence of such operations, each
//! idempotent; the first one records in its document what must follow, and the next call that meets the record, or [`resume`],
//! continues. Events and stored responses are embedded in the document that they belong to.

mod connect;
mod customers;
mod docs;
mod idempotency_keys;
mod keys;
mod leads;
mod numbers;
mod outbox;
mod prune;
mod records;
mod relay;
mod resume;
mod roles;
mod schema;
#[cfg(test)]
mod tests;
mod users;

use std::future::IntoFuture;

use bus::outbox::OutboxDump;
use commerce::page::PageRequest;
use commerce::{CustomerId, UserId};
use futures::future::BoxFuture;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::{Filter, Render, Retention, Store, StoreFuture};
use crate::domain::{Change, Customer, NewCustomer, NewUser, User};
use crate::error::{MongoError, within};
use crate::store::CustomerFact;
use idempotency::{Key, StoredResponse};

/// Attempts of an update under contention. Each failure means that another update succeeded.
const TRIES: u32 = 100;

/// The MongoDB store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MongoStore {
    database: Database,
    customers: Collection<Document>,
    users: Collection<Document>,
    tokens: Collection<Document>,
    keys: Collection<Document>,
    leases: Collection<Document>,
    pruned: Collection<Document>,
    prospects: Collection<Document>,
    activities: Collection<Document>,
    numbers: numbers::Numbers,
    prospect_numbers: numbers::Numbers,
    activity_numbers: numbers::Numbers,
}

impl MongoStore {
    /// Opens the store that the URL names. Refuses a URL with weaker guarantees than this service needs.
    pub(crate) async fn new(url: &str) -> Result<Self, MongoError> {
        let database = connect::database(url).await?;
        Ok(Self {
            customers: database.collection(schema::CUSTOMERS),
            users: database.collection(schema::USERS),
            tokens: database.collection(schema::TOKENS),
            keys: database.collection(schema::KEYS),
            leases: database.collection(schema::LEASES),
            pruned: database.collection(schema::PRUNED),
            prospects: database.collection(schema::PROSPECTS),
            activities: database.collection(schema::ACTIVITIES),
            numbers: numbers::Numbers::default(),
            prospect_numbers: numbers::Numbers::default(),
            activity_numbers: numbers::Numbers::default(),
            database,
        })
    }

    /// The collections whose documents embed events.
    fn tellers(&self) -> [&Collection<Document>; 3] {
        [&self.customers, &self.prospects, &self.activities]
    }

    /// Checks the server and creates missing collections and indexes.
    pub(crate) async fn prepare(&self) -> Result<(), MongoError> {
        let topology = connect::topology(&self.database).await?;
        schema::apply(&self.database).await?;
        connect::announce(topology);
        Ok(())
    }
}

impl Store for MongoStore {
    fn create_customer(
        &self,
        new: NewCustomer,
        key: Option<Key>,
        render: Render<Customer>,
    ) -> StoreFuture<'_, StoredResponse> {
        Box::pin(customers::create(self, new, key, render))
    }

    fn customer<'a>(&'a self, id: &'a CustomerId) -> StoreFuture<'a, Option<Customer>> {
        Box::pin(async move { Ok(customers::load(self, id).await?) })
    }

    fn customers(&self, filter: Filter, window: PageRequest<i64>) -> StoreFuture<'_, (Vec<Customer>, Option<u64>)> {
        Box::pin(customers::list(self, filter, window))
    }

    fn change_customer<'a>(
        &'a self,
        id: &'a CustomerId,
        seen: Option<i64>,
        change: Change,
    ) -> StoreFuture<'a, Customer> {
        Box::pin(customers::change(self, id, seen, change))
    }

    fn anonymise_customer<'a>(&'a self, id: &'a CustomerId, seen: Option<i64>) -> StoreFuture<'a, Vec<String>> {
        Box::pin(customers::anonymise(self, id, seen))
    }

    fn customer_facts<'a>(&'a self, after: &'a str) -> StoreFuture<'a, Vec<CustomerFact>> {
        Box::pin(customers::facts(self, after))
    }

    fn create_user(
        &self,
        new: NewUser,
        key: Option<Key>,
        render: Render<User>,
    ) -> StoreFuture<'_, (Option<User>, StoredResponse)> {
        Box::pin(users::create(self, new, key, render))
    }

    fn user_reply<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<StoredResponse>> {
        Box::pin(users::reply(self, key))
    }

    fn user<'a>(&'a self, id: &'a UserId) -> StoreFuture<'a, Option<User>> {
        Box::pin(users::load(self, id))
    }

    fn user_by_login<'a>(&'a self, login: &'a str) -> StoreFuture<'a, Option<User>> {
        Box::pin(users::by_login(self, login))
    }

    fn users(&self, window: PageRequest<String>) -> StoreFuture<'_, (Vec<User>, Option<u64>)> {
        Box::pin(users::list(self, window))
    }

    fn set_roles<'a>(
        &'a self,
        id: &'a UserId,
        roles: Vec<auth::Role>,
        stores: Vec<String>,
    ) -> StoreFuture<'a, (User, Vec<String>)> {
        Box::pin(roles::set_roles(self, id, roles, stores))
    }

    fn note_token<'a>(&'a self, jti: &'a str, user: &'a UserId, expires_at: i64) -> StoreFuture<'a, ()> {
        Box::pin(async move { Ok(keys::note_token(self, jti, user.as_str(), expires_at, false).await?) })
    }

    fn revoke_token<'a>(&'a self, jti: &'a str, user: &'a str, expires_at: i64) -> StoreFuture<'a, ()> {
        Box::pin(async move { Ok(keys::note_token(self, jti, user, expires_at, true).await?) })
    }

    fn end_tokens<'a>(&'a self, user: &'a UserId) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move { Ok(keys::end_tokens(self, user.as_str()).await?) })
    }

    fn revoked_tokens(&self) -> StoreFuture<'_, Vec<(String, i64)>> {
        Box::pin(async move { Ok(keys::revoked(self).await?) })
    }

    fn signing_keys(&self) -> StoreFuture<'_, Vec<String>> {
        Box::pin(async move { Ok(keys::signing_keys(self).await?) })
    }

    fn add_signing_key<'a>(&'a self, kid: &'a str, pkcs8: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move { Ok(keys::add_signing_key(self, kid, pkcs8).await?) })
    }

    fn told(&self) -> StoreFuture<'_, OutboxDump> {
        Box::pin(async move { Ok(relay::told(self).await?) })
    }

    fn jobs(&self, keep: Retention) -> Vec<upkeep::Job> {
        prune::jobs(self, keep)
    }

    fn resume(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move { Ok(resume::resume(self).await?) })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            within(self.database.run_command(doc! { "ping": 1 })).await?;
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let client = self.database.client().clone();
        Box::pin(client.shutdown().into_future())
    }
}
