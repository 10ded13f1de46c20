//! The store in SQL: every write is one transaction.

mod customers;
mod idempotency_keys;
mod keys;
mod leads;
mod records;
mod rows;
mod users;

use std::time::Duration;

use bus::outbox::OutboxDump;
use commerce::page::PageRequest;
use commerce::{CustomerId, UserId};
use db::{Db, Migration, Tx, query};
use futures::future::BoxFuture;
use upkeep::{Job, Prune};

use super::{Filter, Render, Retention, Store, StoreFuture};
use crate::domain::{Change, Customer, NewCustomer, NewUser, User};
use crate::error::Error;
use crate::store::CustomerFact;
use idempotency::{Key, StoredResponse};

/// The schema. Versions go on where those of the bus end.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 101, name: "customers and users", sql: include_str!("../../../migrations/0001_init.sql") },
    Migration {
        version: 102,
        name: "prospects and activities",
        sql: include_str!("../../../migrations/0002_prospects.sql"),
    },
];

/// The SQL store.
#[derive(Clone, Debug)]
pub(crate) struct SqlStore {
    pub(super) db: Db,
}

impl SqlStore {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

/// Locks for decisions that two replicas must not make at the same time. Several locks are taken in this order.
pub(super) enum Lock<'a> {
    /// An idempotency key.
    Key(&'a Key),
    /// A customer, which need not exist.
    Customer(&'a str),
    /// An e-mail address in lower case.
    Email(&'a str),
    /// The roles of all users.
    Roles,
    /// A user with its tokens.
    User(&'a str),
    /// A prospect or activity, which need not exist, by its kind and id.
    Record(&'a str, &'a str),
}

impl Lock<'_> {
    pub(super) async fn take(self, tx: &mut Tx) -> Result<(), Error> {
        let name = match self {
            Self::Key(key) => format!("key/{}/{}/{}", key.subject, key.route, key.key),
            Self::Customer(id) => format!("customer/{id}"),
            Self::Email(email) => format!("email/{email}"),
            Self::Roles => "roles".to_owned(),
            Self::User(id) => format!("user/{id}"),
            Self::Record(kind, id) => format!("{kind}/{id}"),
        };
        Ok(tx.lock([name]).await?)
    }
}

/// The next number of a kind, without gaps in what is committed.
pub(super) async fn next_number(tx: &mut Tx, kind: &str) -> Result<i64, Error> {
    let row = query("insert into counters (kind, last) values ($1, 1) on conflict (kind) do update set last = counters.last + 1 returning last")
        .bind(kind)
        .fetch_one(tx)
        .await?;
    Ok(row.get("last")?)
}

impl Store for SqlStore {
    fn create_customer(
        &self,
        new: NewCustomer,
        key: Option<Key>,
        render: Render<Customer>,
    ) -> StoreFuture<'_, StoredResponse> {
        Box::pin(customers::create(self, new, key, render))
    }

    fn customer<'a>(&'a self, id: &'a CustomerId) -> StoreFuture<'a, Option<Customer>> {
        Box::pin(async move { customers::load(&mut self.db.read().await?, id).await })
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
        Box::pin(async move { idempotency_keys::find(&mut self.db.read().await?, Some(key)).await })
    }

    fn user<'a>(&'a self, id: &'a UserId) -> StoreFuture<'a, Option<User>> {
        Box::pin(async move { users::load(&mut self.db.read().await?, id.as_str()).await })
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
        Box::pin(users::set_roles(self, id, roles, stores))
    }

    fn note_token<'a>(&'a self, jti: &'a str, user: &'a UserId, expires_at: i64) -> StoreFuture<'a, ()> {
        Box::pin(keys::note_token(self, jti, user.as_str(), expires_at, false))
    }

    fn revoke_token<'a>(&'a self, jti: &'a str, user: &'a str, expires_at: i64) -> StoreFuture<'a, ()> {
        Box::pin(keys::note_token(self, jti, user, expires_at, true))
    }

    fn end_tokens<'a>(&'a self, user: &'a UserId) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move {
            let mut tx = self.db.write().await?;
            let ended = keys::end_tokens(&mut tx, user.as_str()).await?;
            tx.commit().await?;
            Ok(ended)
        })
    }

    fn revoked_tokens(&self) -> StoreFuture<'_, Vec<(String, i64)>> {
        Box::pin(keys::revoked(self))
    }

    fn signing_keys(&self) -> StoreFuture<'_, Vec<String>> {
        Box::pin(keys::signing_keys(self))
    }

    fn add_signing_key<'a>(&'a self, kid: &'a str, pkcs8: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(keys::add_signing_key(self, kid, pkcs8))
    }

    fn told(&self) -> StoreFuture<'_, OutboxDump> {
        Box::pin(async move { Ok(bus::outbox::dump(&mut self.db.read().await?).await?) })
    }

    fn jobs(&self, keep: Retention) -> Vec<Job> {
        let (key, old) = ("subject, route, key", "created_at < $1");
        let prunes = [
            bus::outbox::prune(keep.events),
            Prune { table: "idempotency", key, old, keep: keep.replies },
            // Tokens expire at whole seconds.
            Prune { table: "tokens", key: "jti", old: "expires_at < $1 / 1000000", keep: Duration::ZERO },
        ];
        prunes.into_iter().map(|prune| prune.job(self.db.clone())).collect()
    }

    fn resume(&self) -> StoreFuture<'_, u64> {
        // A transaction is complete or absent, so nothing is left to finish.
        Box::pin(async { Ok(0) })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move { Ok(self.db.ping().await?) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.db.close())
    }
}
