//! What prospects and activities share in SQL.

use bus::outbox;
use commerce::page::PageRequest;
use db::{Row, Tx, Value, insert, query};

use super::{Lock, SqlStore, idempotency_keys, next_number};
use crate::error::Error;
use crate::store::{Edit, Listed, Record, Render};
use idempotency::{KeyedRequest, StoredResponse};

const FACTS_PAGE: i64 = 1_000;

/// A record and its row.
pub(crate) trait Rows: Record {
    /// The table.
    const TABLE: &'static str;
    /// The columns, `id` first, in the order of [`Rows::row`].
    const COLUMNS: &'static [&'static str];

    /// Adds the conditions of a list.
    fn filter(filter: Self::Filter, conditions: &mut db::Filter);
    /// The values of the columns.
    fn row(&self) -> Vec<Value>;
    /// Reads a record from a row of all columns.
    fn read(row: &Row) -> Result<Self, Error>;
}

pub(crate) async fn create<T: Rows>(
    store: &SqlStore,
    new: T,
    key: Option<KeyedRequest>,
    render: Render<T>,
) -> Result<StoredResponse, Error> {
    let mut tx = store.db.write().await?;
    if let Some(key) = &key {
        Lock::Key(&key.key).take(&mut tx).await?;
    }
    if let Some(reply) = idempotency_keys::find(&mut tx, key.as_ref()).await? {
        return Ok(reply);
    }
    let made = add(&mut tx, new).await?;
    let reply = render(&made, true);
    idempotency_keys::store(&mut tx, key.as_ref(), made.id(), &reply).await?;
    tx.commit().await?;
    Ok(reply)
}

/// Inserts a record unless its id is or was used.
pub(crate) async fn insert_once<T: Rows>(store: &SqlStore, new: T) -> Result<bool, Error> {
    let mut tx = store.db.write().await?;
    Lock::Record(T::KIND, new.id()).take(&mut tx).await?;
    if load::<T>(&mut tx, new.id()).await?.is_some() {
        return Ok(false);
    }
    add(&mut tx, new).await?;
    tx.commit().await?;
    Ok(true)
}

async fn add<T: Rows>(tx: &mut Tx, mut new: T) -> Result<T, Error> {
    new.set_number(next_number(tx, T::KIND).await?);
    insert(T::TABLE, T::COLUMNS, [new.row()]).execute(tx).await?;
    outbox::append(tx, crate::NAME, vec![new.created_event()]).await?;
    Ok(new)
}

/// The record with an id, or the mark of a deleted one.
async fn load<T: Rows>(tx: &mut Tx, id: &str) -> Result<Option<T>, Error> {
    let text = format!("select {} from {} where id = $1", T::COLUMNS.join(", "), T::TABLE);
    query(text).bind(id).fetch_optional(tx).await?.as_ref().map(T::read).transpose()
}

pub(crate) async fn find<T: Rows>(store: &SqlStore, id: &str) -> Result<Option<T>, Error> {
    Ok(load::<T>(&mut store.db.read().await?, id).await?.filter(|found| !found.is_deleted()))
}

pub(crate) async fn edit<T: Rows>(store: &SqlStore, id: &str, seen: Option<i64>, edit: Edit<T>) -> Result<T, Error> {
    let mut tx = store.db.write().await?;
    Lock::Record(T::KIND, id).take(&mut tx).await?;
    let before = load::<T>(&mut tx, id).await?.filter(|found| !found.is_deleted()).ok_or(Error::NotFound(T::KIND))?;
    before.check_seen(seen)?;
    let Some(step) = edit(&before)? else { return Ok(before) };
    let set: Vec<String> =
        T::COLUMNS.iter().enumerate().skip(1).map(|(n, column)| format!("{column} = ${}", n + 1)).collect();
    let text = format!("update {} set {} where id = $1", T::TABLE, set.join(", "));
    step.after.row().into_iter().fold(query(text), db::Query::bind).execute(&mut tx).await?;
    if let Some(data) = &step.redaction {
        let first = step.after.created_event();
        outbox::redact(&mut tx, first.topic, &first.subject, data).await?;
        idempotency_keys::forget(&mut tx, id).await?;
    }
    outbox::append(&mut tx, crate::NAME, step.event.into_iter().collect()).await?;
    tx.commit().await?;
    Ok(step.after)
}

pub(crate) async fn list<T: Rows>(
    store: &SqlStore,
    filter: T::Filter,
    window: PageRequest<i64>,
) -> Result<Listed<T>, Error> {
    let mut conditions = db::Filter::new("deleted_at is null");
    T::filter(filter, &mut conditions);
    let mut tx = store.db.snapshot().await?;
    let total = if window.include_total { Some(conditions.count(T::TABLE, &mut tx).await?) } else { None };
    if let Some(after) = window.after {
        conditions.and("number > ?", after);
    }
    let (columns, table) = (T::COLUMNS.join(", "), T::TABLE);
    let text = format!("select {columns} from {table} where {{where}} order by number limit ? offset ?");
    let rows = conditions.query(&text, [window.fetch().into(), window.offset.into()]).fetch_all(&mut tx).await?;
    Ok((rows.iter().map(T::read).collect::<Result<_, _>>()?, total))
}

pub(crate) async fn all<T: Rows>(store: &SqlStore, after: &str) -> Result<Vec<T>, Error> {
    let mut tx = store.db.read().await?;
    let text = format!("select {} from {} where id > $1 order by id limit $2", T::COLUMNS.join(", "), T::TABLE);
    query(text).bind(after).bind(FACTS_PAGE).fetch_all(&mut tx).await?.iter().map(T::read).collect()
}
