//! Keys in the SQL store of a service: a row for each key, written in the transaction of its effect.

use commerce::Timestamp;
use db::{Row, Tx, Value, query};

use crate::{Key, KeyedRequest};

/// The table of a service, unique in `subject`, `route` and `key`. What else it stores is the service's own.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The column of the fingerprint.
    pub fingerprint: &'static str,
    /// The column of the time of the first request, in microseconds.
    pub created_at: &'static str,
}

/// The key was used for another request.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the Idempotency-Key was used for another request")]
pub struct Reused;

/// Locks a key until the transaction ends: what one request does under it, another one waits for.
pub async fn lock(tx: &mut Tx, key: &Key) -> Result<(), db::Error> {
    tx.lock([key.lock_name()]).await
}

impl Table {
    /// The named columns of a key's row, whatever request made it.
    pub async fn row(&self, tx: &mut Tx, key: &Key, columns: &str) -> Result<Option<Row>, db::Error> {
        let Self { name, fingerprint, .. } = self;
        query(format!("select {fingerprint}, {columns} from {name} where subject = $1 and route = $2 and key = $3"))
            .bind(key.subject.as_str())
            .bind(key.route)
            .bind(key.key.as_str())
            .fetch_optional(tx)
            .await
    }

    /// The named columns of the row that the same request made before, if it has a key and one exists; [`Reused`] if another request
    /// did. The caller holds the lock of the key if it acts on what it finds.
    pub async fn find<E: From<db::Error> + From<Reused>>(
        &self,
        tx: &mut Tx,
        request: Option<&KeyedRequest>,
        columns: &str,
    ) -> Result<Option<Row>, E> {
        let Some(request) = request else { return Ok(None) };
        let Some(row) = self.row(tx, &request.key, columns).await? else { return Ok(None) };
        let stored: String = row.get(self.fingerprint)?;
        if request.fingerprint.is(&stored) { Ok(Some(row)) } else { Err(Reused.into()) }
    }

    /// Inserts the row of a key with the values of the service's own columns.
    pub async fn insert(
        &self,
        tx: &mut Tx,
        key: &Key,
        fingerprint: &str,
        now: Timestamp,
        own: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<(), db::Error> {
        let (mut columns, mut values): (Vec<&str>, Vec<Value>) = own.into_iter().unzip();
        columns.extend(["subject", "route", "key", self.fingerprint, self.created_at]);
        values.extend([
            key.subject.as_str().into(),
            key.route.into(),
            key.key.as_str().into(),
            fingerprint.into(),
            now.micros().into(),
        ]);
        let parameters: Vec<String> = (1..=values.len()).map(|n| format!("${n}")).collect();
        let text = format!("insert into {} ({}) values ({})", self.name, columns.join(", "), parameters.join(", "));
        values.into_iter().fold(query(text), db::Query::bind).execute(tx).await?;
        Ok(())
    }
}
