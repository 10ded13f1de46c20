//! Deletes old rows.

use std::time::Duration;

use commerce::Timestamp;
use db::{Db, Tx, query};

use crate::{BATCH, Job};

/// Describes which rows of a table are deleted, and when.
#[derive(Debug, Clone, Copy)]
pub struct Prune {
    /// The table; also the name of the job.
    pub table: &'static str,
    /// The columns that identify a row, such as `id` or `topic, subject`.
    pub key: &'static str,
    /// The condition for old rows, such as `published_at < $1`; `$1` is the time `keep` ago.
    pub old: &'static str,
    /// How long rows are kept.
    pub keep: Duration,
}

impl Prune {
    /// The job that deletes the rows, a batch at a time.
    pub fn job(self, db: Db) -> Job {
        Job::new(self.table, move || {
            let db = db.clone();
            async move {
                let now = Timestamp::from_micros(db.read_clock().await?);
                Ok(self.batch(&db, now).await?)
            }
        })
    }

    async fn batch(self, db: &Db, now: Timestamp) -> db::Result<u64> {
        let Self { table, key, old, keep } = self;
        let before = now.minus(keep);
        let mut tx = db.read().await?;
        // Without old rows there is no write transaction.
        let found = query(format!("select 1 as one from {table} where {old} limit 1"))
            .bind(before.micros())
            .fetch_optional(&mut tx);
        if found.await?.is_none() {
            return Ok(0);
        }
        drop(tx);
        let mut tx = db.write().await?;
        let deleted = query(format!(
            "delete from {table} where ({key}) in (select {key} from {table} where {old} limit {BATCH} {{skip locked}})"
        ))
        .bind(before.micros())
        .execute(&mut tx)
        .await?;
        query(
            "insert into pruned (name, before) values ($1, $2)
             on conflict (name) do update set before = excluded.before where pruned.before < excluded.before",
        )
        .bind(table)
        .bind(before.micros())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(deleted)
    }
}

/// The time before which rows of a table may have been deleted; `None` if none ever were.
pub async fn pruned_before(tx: &mut Tx, table: &str) -> db::Result<Option<Timestamp>> {
    let row = query("select before from pruned where name = $1").bind(table).fetch_optional(tx).await?;
    row.map(|row| Ok(Timestamp::from_micros(row.get("before")?))).transpose()
}

#[cfg(test)]
mod tests {
    use db::{Migration, insert};

    use super::*;

    #[tokio::test]
    async fn old_rows_are_deleted_in_batches_and_the_time_is_recorded() {
        let sql = "create table notes (a bigint not null, b bigint not null, at bigint, primary key (a, b));";
        let own = [Migration { version: 100, name: "notes", sql }];
        let store = testkit::store().await.expect("a database");
        let db = store.open(&[crate::MIGRATIONS, &own].concat()).await.expect("migrates");
        let mut tx = db.write().await.expect("begins");
        let rows = (0..1_300).map(|n| vec![n.into(), 1.into(), (n < 1_200).then_some(n).into()]);
        insert("notes", &["a", "b", "at"], rows).execute(&mut tx).await.expect("inserts");
        tx.commit().await.expect("commits");
        let prune = Prune { table: "notes", key: "a, b", old: "at < $1", keep: Duration::from_secs(1) };
        let now = Timestamp::from_micros(1_001_100);
        for deleted in [BATCH, BATCH, 100, 0] {
            assert_eq!(prune.batch(&db, now).await.expect("prunes"), deleted);
        }
        let mut tx = db.read().await.expect("reads");
        let left = query("select count(*) as n from notes").fetch_one(&mut tx).await.expect("counts");
        assert_eq!(left.get::<i64>("n").expect("a number"), 200);
        assert_eq!(pruned_before(&mut tx, "notes").await.expect("reads"), Some(Timestamp::from_micros(1_100)));
    }
}
