//! The catalogue in SQL. Functions speak of products; rows stay here.

mod idempotency_keys;
mod reads;
mod rows;
mod writes;

use db::{Db, Migration};

pub(crate) use reads::Filter;

/// The schema. Versions go on where those of the bus end.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 101, name: "products", sql: include_str!("../../migrations/0001_init.sql") }];

/// Rows that are deleted when they are old enough.
pub(crate) fn prunes(config: &crate::Config) -> Vec<upkeep::Prune> {
    vec![
        bus::outbox::prune(upkeep::days(config.outbox_days)),
        upkeep::Prune {
            table: "idempotency",
            key: "subject, route, key",
            old: "created_at < $1",
            keep: upkeep::hours(config.idempotency_hours),
        },
    ]
}

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    db: Db,
}

impl Store {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<(), db::Error> {
        self.db.ping().await
    }
}
