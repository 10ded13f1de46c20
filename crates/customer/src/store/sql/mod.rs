//! The store in SQL: every write is one transaction.

pub(super) mod customers;
mod idempotency_keys;
pub(super) mod keys;
mod record_rows;
pub(super) mod records;
mod rows;
pub(super) mod users;

use std::time::Duration;

use db::{Db, Migration, Tx, query};
use idempotency::Key;
use upkeep::{Job, Prune};

use super::Retention;
use crate::error::Error;
pub(crate) use records::Rows;

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
    pub(crate) db: Db,
}

impl SqlStore {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// The jobs that prune old rows.
    pub(crate) fn jobs(&self, keep: Retention) -> Vec<Job> {
        let (key, old) = ("subject, route, key", "created_at < $1");
        let prunes = [
            bus::outbox::prune(keep.events),
            Prune { table: "idempotency", key, old, keep: keep.replies },
            // Tokens expire at whole seconds.
            Prune { table: "tokens", key: "jti", old: "expires_at < $1 / 1000000", keep: Duration::ZERO },
        ];
        prunes.into_iter().map(|prune| prune.job(self.db.clone())).collect()
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
            Self::Key(key) => key.lock_name(),
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
