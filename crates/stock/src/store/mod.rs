//! The SQL of this service. Rows become domain types here and do not leave.

pub(crate) mod contradictions;
pub(crate) mod idempotency_keys;
pub(crate) mod lists;
pub(crate) mod places;
pub(crate) mod replenishments;
pub(crate) mod unit_of_work;

use chassis::Context;
use db::Db;

use crate::Config;

/// Opens the store, and brings its schema up to date.
pub(crate) async fn open(config: &Config, ctx: Option<&Context>) -> anyhow::Result<Db> {
    service::open_db(crate::NAME, &config.common.database_url, MIGRATIONS, ctx).await
}

/// The migrations of this service. Versions below 100 belong to the shared tables.
pub(crate) const MIGRATIONS: &[db::Migration] = &[
    db::Migration { version: 101, name: "stock", sql: include_str!("../../migrations/0001_init.sql") },
    db::Migration { version: 102, name: "age", sql: include_str!("../../migrations/0002_age.sql") },
    db::Migration { version: 103, name: "replenishment", sql: include_str!("../../migrations/0003_replenishment.sql") },
];

/// The rows that are deleted after a time.
pub(crate) fn prunes(config: &Config) -> Vec<upkeep::Prune> {
    let tombstones = upkeep::days(config.tombstone_days);
    vec![
        bus::outbox::prune(upkeep::days(config.outbox_days)),
        bus::inbox::prune(upkeep::days(config.inbox_days)),
        upkeep::Prune {
            table: "answers",
            key: "subject, route, key",
            old: "at < $1",
            keep: upkeep::hours(config.idempotency_hours),
        },
        // A released reservation refuses a late reserve and stays for a while. Its lines refer to it, so they go first.
        upkeep::Prune {
            table: "reservation_lines",
            key: "order_id, product_id",
            old: "order_id in (select order_id from reservations where state = 'released' and updated_at < $1)",
            keep: tombstones,
        },
        upkeep::Prune {
            table: "reservations",
            key: "order_id",
            old: "state = 'released' and updated_at < $1
                  and not exists (select 1 from reservation_lines l where l.order_id = reservations.order_id)",
            keep: tombstones,
        },
    ]
}
