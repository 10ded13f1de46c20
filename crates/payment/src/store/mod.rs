//! The SQL of this service. Rows become domain types here and do not leave.

pub(crate) mod payments;
pub(crate) mod sandbox;

/// The migrations of this service. Versions below 100 belong to the shared tables.
pub(crate) const MIGRATIONS: &[db::Migration] = &[
    db::Migration { version: 101, name: "payments", sql: include_str!("../../migrations/0001_init.sql") },
    db::Migration { version: 102, name: "refunds up to", sql: include_str!("../../migrations/0002_up_to.sql") },
    db::Migration { version: 103, name: "age", sql: include_str!("../../migrations/0003_age.sql") },
    db::Migration { version: 104, name: "provider keys", sql: include_str!("../../migrations/0004_provider_key.sql") },
];

/// The rows that are deleted after a time.
pub(crate) fn prunes(config: &crate::Config) -> Vec<upkeep::Prune> {
    let tombstones = upkeep::days(config.tombstone_days);
    vec![
        bus::outbox::prune(upkeep::days(config.outbox_days)),
        // Long after its order has ended, a tombstone refuses nothing any more. Its operations refer to it, so they go first.
        upkeep::Prune {
            table: "operations",
            key: "order_id, op, op_id",
            old: "order_id in (select order_id from payments where status = 'tombstone' and updated_at < $1)",
            keep: tombstones,
        },
        upkeep::Prune {
            table: "payments",
            key: "order_id",
            old: "status = 'tombstone' and updated_at < $1
                  and not exists (select 1 from operations o where o.order_id = payments.order_id)",
            keep: tombstones,
        },
        upkeep::Prune { table: "sandbox_calls", key: "key", old: "at < $1", keep: tombstones },
    ]
}

#[cfg(test)]
mod tests {
    use db::{Db, Options};

    use super::*;
    use crate::domain::RequestedAmount;

    #[tokio::test]
    async fn a_store_from_before_refunds_up_to_is_read_as_it_was_meant() {
        let dir = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", dir.path().join("payment.db").display());
        let db = Db::open(&url, &Options::default(), None).await.expect("opens");
        db.migrate(&MIGRATIONS[..1]).await.expect("migrates");
        let mut tx = db.write().await.expect("begins");
        for sql in [
            "insert into payments values ('p', 1, 'order', 'o', null, 100, 'EUR', 'card', 1, 'partly_refunded', 100,
             60, 2, 0, 0, 0)",
            "insert into operations values ('o', 'refund', 'r', 0, 60, 60, 'done', '', '', 0)",
        ] {
            db::query(sql).execute(&mut tx).await.expect("inserts");
        }
        tx.commit().await.expect("commits");
        db.migrate(MIGRATIONS).await.expect("migrates");
        let mut tx = db.snapshot().await.expect("begins");
        let payment = payments::of_orders(&mut tx, &["o"].into()).await.expect("reads").remove("o").expect("is there");
        assert_eq!(payment.operations[0].requested, RequestedAmount { amount: payment.refunded, up_to: false });
        // A provider knows an operation in doubt by the key of the version that sent it.
        assert_eq!(payment.operations[0].provider_key, "o:refund:r");
    }
}
