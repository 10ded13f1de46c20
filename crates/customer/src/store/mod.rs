//! The store of the service, with two implementations: SQL and MongoDB.

#[cfg(test)]
mod conformance;
mod mongo;
mod open;
mod record;
mod sql;

use std::future::IntoFuture;
use std::time::Duration;

use bus::outbox::OutboxDump;
use commerce::page::PageRequest;
use commerce::{CustomerId, UserId};
use idempotency::{KeyedRequest, StoredResponse};

use crate::domain::{Change, Customer, NewCustomer, NewUser, User};
use crate::error::Error;
use mongo::MongoStore;
use sql::SqlStore;

pub(crate) use open::{Opened, open, open_to_read};
pub(crate) use record::{Activities, Edit, Prospects, Record, Step};

/// Some rows of a list in its order, and the number of all rows if requested.
pub(crate) type Listed<T> = (Vec<T>, Option<u64>);

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

/// The store. A write and its event are atomic: both are stored, or neither. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// SQLite or PostgreSQL.
    Sql(SqlStore),
    /// MongoDB.
    Mongo(MongoStore),
}

/// Prospects and activities in both implementations.
pub(crate) trait Stored: sql::Rows + mongo::Docs {}

impl<T: sql::Rows + mongo::Docs> Stored for T {}

/// Calls the function of the same name of the implementation. Its future is on the heap, since MongoDB's are large.
macro_rules! forward {
    ($store:ident, $module:ident::$function:ident $([$kind:ty])? ($($argument:expr),*)) => {
        match $store {
            Self::Sql(store) => Box::pin(sql::$module::$function $(::<$kind>)? (store, $($argument),*)).await,
            Self::Mongo(store) => Ok(Box::pin(mongo::$module::$function $(::<$kind>)? (store, $($argument),*)).await?),
        }
    };
}

impl Store {
    /// Creates a customer; a repeat (by key, or by id with the same payload) changes nothing.
    pub(crate) async fn create_customer(
        &self,
        new: NewCustomer,
        key: Option<KeyedRequest>,
        render: Render<Customer>,
    ) -> Result<StoredResponse, Error> {
        forward!(self, customers::create(new, key, render))
    }

    /// One customer.
    pub(crate) async fn customer(&self, id: &CustomerId) -> Result<Option<Customer>, Error> {
        forward!(self, customers::find(id))
    }

    /// A page of customers in the order of their numbers, and the total if requested.
    pub(crate) async fn customers(&self, filter: Filter, page: PageRequest<i64>) -> Result<Listed<Customer>, Error> {
        forward!(self, customers::list(filter, page))
    }

    /// Changes a profile; a change without effect is not recorded.
    pub(crate) async fn change_customer(
        &self,
        id: &CustomerId,
        seen: Option<i64>,
        change: Change,
    ) -> Result<Customer, Error> {
        forward!(self, customers::change(id, seen, change))
    }

    /// Removes all personal data: from the customer, its user, stored responses and events. Returns the ids of
    /// the tokens revoked by it.
    pub(crate) async fn anonymise_customer(&self, id: &CustomerId, seen: Option<i64>) -> Result<Vec<String>, Error> {
        forward!(self, customers::anonymise(id, seen))
    }

    /// A page of all customers, with ids after `after`. For the audit.
    pub(crate) async fn all_customers(&self, after: &str) -> Result<Vec<Customer>, Error> {
        forward!(self, customers::all(after))
    }

    /// Creates a user, and its customer if requested.
    pub(crate) async fn create_user(
        &self,
        new: NewUser,
        key: Option<KeyedRequest>,
        render: Render<User>,
    ) -> Result<(Option<User>, StoredResponse), Error> {
        forward!(self, users::create(new, key, render))
    }

    /// The response that the creation of a user stored under this key.
    pub(crate) async fn user_response(&self, key: &KeyedRequest) -> Result<Option<StoredResponse>, Error> {
        forward!(self, users::response(key))
    }

    /// One user.
    pub(crate) async fn user(&self, id: &UserId) -> Result<Option<User>, Error> {
        forward!(self, users::find(id))
    }

    /// The user with that name or e-mail address.
    pub(crate) async fn user_by_login(&self, login: &str) -> Result<Option<User>, Error> {
        forward!(self, users::by_login(login))
    }

    /// A page of users in the order of their ids, and the total if requested.
    pub(crate) async fn users(&self, page: PageRequest<String>) -> Result<Listed<User>, Error> {
        forward!(self, users::list(page))
    }

    /// Replaces the roles of a user and revokes its tokens; returns the user and their ids.
    pub(crate) async fn set_roles(
        &self,
        id: &UserId,
        roles: Vec<auth::Role>,
        stores: Vec<String>,
    ) -> Result<(User, Vec<String>), Error> {
        forward!(self, users::set_roles(id, roles, stores))
    }

    /// Records an issued token.
    pub(crate) async fn record_token(&self, jti: &str, user: &UserId, expires_at: i64) -> Result<(), Error> {
        forward!(self, keys::record_token(jti, user.as_str(), expires_at, false))
    }

    /// Revokes a token.
    pub(crate) async fn revoke_token(&self, jti: &str, user: &str, expires_at: i64) -> Result<(), Error> {
        forward!(self, keys::record_token(jti, user, expires_at, true))
    }

    /// Revokes all tokens of a user and returns their ids.
    pub(crate) async fn end_tokens(&self, user: &UserId) -> Result<Vec<String>, Error> {
        forward!(self, keys::end_tokens(user.as_str()))
    }

    /// Revoked tokens that have not expired, with their expiry in seconds since 1970.
    pub(crate) async fn revoked_tokens(&self) -> Result<Vec<(String, i64)>, Error> {
        forward!(self, keys::revoked())
    }

    /// The signing keys (PKCS#8 in base64), newest first.
    pub(crate) async fn signing_keys(&self) -> Result<Vec<String>, Error> {
        forward!(self, keys::signing_keys())
    }

    /// Stores a new signing key.
    pub(crate) async fn add_signing_key(&self, kid: &str, pkcs8: &str) -> Result<(), Error> {
        forward!(self, keys::add_signing_key(kid, pkcs8))
    }

    /// Creates a prospect or an activity; a repeat by key changes nothing.
    pub(crate) async fn create_record<T: Stored>(
        &self,
        new: T,
        key: Option<KeyedRequest>,
        render: Render<T>,
    ) -> Result<StoredResponse, Error> {
        forward!(self, records::create(new, key, render))
    }

    /// Inserts a record unless one with its id ever existed; returns whether it did.
    pub(crate) async fn insert_record_once<T: Stored>(&self, new: T) -> Result<bool, Error> {
        forward!(self, records::insert_once(new))
    }

    /// One prospect or activity; deleted ones are not found.
    pub(crate) async fn record<T: Stored>(&self, id: &str) -> Result<Option<T>, Error> {
        forward!(self, records::find(id))
    }

    /// A page of records in the order of their numbers, and the total if requested.
    pub(crate) async fn records<T: Stored>(
        &self,
        filter: T::Filter,
        page: PageRequest<i64>,
    ) -> Result<Listed<T>, Error> {
        if T::is_futile(&filter) {
            return Ok((Vec::new(), page.include_total.then_some(0)));
        }
        forward!(self, records::list(filter, page))
    }

    /// Changes a record as the caller decides by its present state.
    pub(crate) async fn edit_record<T: Stored>(&self, id: &str, seen: Option<i64>, edit: Edit<T>) -> Result<T, Error> {
        forward!(self, records::edit(id, seen, edit))
    }

    /// A page of all records, marks of deleted ones too, with ids after `after`. For the audit.
    pub(crate) async fn all_records<T: Stored>(&self, after: &str) -> Result<Vec<T>, Error> {
        forward!(self, records::all[T](after))
    }

    /// The events that are kept, those of each subject in order, and whether older ones were pruned.
    pub(crate) async fn outbox_dump(&self) -> Result<OutboxDump, Error> {
        match self {
            Self::Sql(store) => Ok(bus::outbox::dump(&mut store.db.read().await?).await?),
            Self::Mongo(store) => Ok(store.outbox_dump().await?),
        }
    }

    /// The periodic jobs that prune old data, for one replica at a time.
    pub(crate) fn jobs(&self, keep: Retention) -> Vec<upkeep::Job> {
        match self {
            Self::Sql(store) => store.jobs(keep),
            Self::Mongo(store) => mongo::prune::jobs(store, keep),
        }
    }

    /// Finishes operations that a crash interrupted; returns how many.
    pub(crate) async fn resume(&self) -> Result<u64, Error> {
        match self {
            // A transaction is complete or absent, so nothing is left to finish.
            Self::Sql(_) => Ok(0),
            Self::Mongo(store) => Ok(mongo::resume::resume(store).await?),
        }
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        match self {
            Self::Sql(store) => Ok(store.db.ping().await?),
            Self::Mongo(store) => Ok(store.ping().await?),
        }
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sql(store) => store.db.close().await,
            Self::Mongo(store) => store.client().shutdown().into_future().await,
        }
    }
}
