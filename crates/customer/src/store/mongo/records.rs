//! What prospects and activities share in MongoDB. Each write is one operation on one document, which embeds its events
//! and stored responses.

use commerce::Timestamp;
use commerce::page::PageRequest;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, deserialize_from_document, doc};
use serde::Deserialize;
use serde_json::Value;

use super::customers::{entry, pause};
use super::docs::{Entry, Kept, document};
use super::numbers::{self, Numbers};
use super::{MongoStore, TRIES, idempotency_keys};
use crate::error::Error;
use crate::error::{MongoError, in_time, within};
use crate::store::{Edit, Listed, Record, Render};
use idempotency::{KeyedRequest, StoredResponse};

const FACTS_PAGE: i64 = 1_000;
const ID: &str = "_id_";

/// A record and its document.
pub(crate) trait Docs: Record {
    /// The unique index of numbers.
    const NUMBER_KEY: &'static str;
    /// The unique index of idempotency keys.
    const REPLIES_KEY: &'static str;
    /// Optional fields, which are absent instead of null.
    const OPTIONAL: &'static [&'static str];

    /// The collection.
    fn collection(store: &MongoStore) -> &Collection<Document>;
    /// The queue for its numbers.
    fn numbers(store: &MongoStore) -> &Numbers;
    /// The documents of a list.
    fn filter(filter: Self::Filter) -> Document;
    /// Its own fields, without events and stored responses.
    fn document(&self) -> Result<Document, MongoError>;
    /// Reads a record from a document; other fields are ignored.
    fn read(found: Document) -> Result<Self, MongoError>;
}

/// The error for a text that this service cannot have written.
pub(super) fn unreadable(error: mongodb::bson::error::Error) -> MongoError {
    MongoError::Defect(error.into())
}

pub(crate) async fn create<T: Docs>(
    store: &MongoStore,
    new: T,
    key: Option<KeyedRequest>,
    render: Render<T>,
) -> Result<StoredResponse, Error> {
    for _ in 0..TRIES {
        if let Some(key) = &key
            && let Some(reply) = idempotency_keys::find(T::collection(store), key).await?
        {
            return Ok(reply);
        }
        match add(store, new.clone(), key.as_ref().map(|key| (key, render))).await {
            Ok(made) => return Ok(render(&made, true)),
            // A concurrent repeat of this request was first: its response is stored.
            Err(failure) if failure.duplicate() == Some(T::REPLIES_KEY) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(Error::from(MongoError::Away(None)))
}

/// Inserts a record unless its id is or was used.
pub(crate) async fn insert_once<T: Docs>(store: &MongoStore, new: T) -> Result<bool, Error> {
    let there = T::collection(store).find_one(doc! { "_id": new.id() }).projection(doc! { "_id": 1 });
    if within(there).await?.is_some() {
        return Ok(false);
    }
    match add(store, new, None).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.duplicate() == Some(ID) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// Inserts a record with its number, its first event, and the response to store. A unique index may refuse.
async fn add<T: Docs>(
    store: &MongoStore,
    mut new: T,
    answer: Option<(&KeyedRequest, Render<T>)>,
) -> Result<T, MongoError> {
    let _turn = T::numbers(store).turn().await?;
    for _ in 0..TRIES {
        new.set_number(numbers::next(T::collection(store)).await?);
        let first = new.created_event();
        let mut whole = new.document()?;
        whole.insert("shard", bus::outbox::shard(&first.subject));
        whole.insert("waiting_since", new.created_at().micros());
        whole.insert("outbox", vec![document(&entry(first, new.created_at()))?]);
        if let Some((key, render)) = &answer {
            whole.insert("replies", vec![document(&Kept::new(key, &render(&new, true), Timestamp::now()))?]);
        }
        match within(T::collection(store).insert_one(whole)).await {
            Ok(_) => return Ok(new),
            Err(failure) if failure.duplicate() == Some(T::NUMBER_KEY) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(MongoError::Away(None))
}

pub(crate) async fn find<T: Docs>(store: &MongoStore, id: &str) -> Result<Option<T>, Error> {
    let wanted = doc! { "_id": id, "deleted_at": Bson::Null };
    let found = within(T::collection(store).find_one(wanted).projection(without_others())).await?;
    Ok(found.map(T::read).transpose()?)
}

/// Reads leave out the embedded events and responses.
fn without_others() -> Document {
    doc! { "outbox": 0, "replies": 0 }
}

#[derive(Deserialize)]
struct Embedded {
    #[serde(default)]
    outbox: Vec<Entry>,
}

pub(crate) async fn edit<T: Docs>(store: &MongoStore, id: &str, seen: Option<i64>, edit: Edit<T>) -> Result<T, Error> {
    let collection = T::collection(store);
    for attempt in 0..TRIES {
        let wanted = doc! { "_id": id, "deleted_at": Bson::Null };
        let found = within(collection.find_one(wanted)).await?.ok_or(Error::NotFound(T::KIND))?;
        let embedded: Embedded = deserialize_from_document(found.clone()).map_err(unreadable)?;
        let before = T::read(found)?;
        before.check_seen(seen)?;
        let Some(step) = edit(&before)? else { return Ok(before) };
        let mut set = step.after.document()?;
        set.remove("_id");
        let mut unset: Document = Document::new();
        for field in T::OPTIONAL.iter().filter(|field| !set.contains_key(**field)) {
            unset.insert(*field, "");
        }
        let now = step.after.updated_at();
        let has_event = step.event.is_some();
        let event = step.event.map(|event| entry(event, now));
        let mut update = Document::new();
        if let Some(data) = step.redaction {
            // This may overwrite the mark of a relay that has just published one of them, which is then published twice, in order.
            let outbox = embedded.outbox.into_iter().map(|entry| redacted(entry, &data)).chain(event);
            set.insert("outbox", outbox.map(|entry| document(&entry)).collect::<Result<Vec<_>, _>>()?);
            unset.insert("replies", "");
        } else if let Some(event) = event {
            update.insert("$push", doc! { "outbox": document(&event)? });
        }
        if has_event {
            update.insert("$min", doc! { "waiting_since": now.micros() });
        }
        update.insert("$set", set);
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        let done = within(collection.update_one(doc! { "_id": id, "version": before.version() }, update)).await?;
        if done.matched_count == 1 {
            return Ok(step.after);
        }
        pause(attempt).await;
    }
    Err(Error::from(MongoError::Away(None)))
}

fn redacted(mut entry: Entry, data: &Value) -> Entry {
    if let Ok(mut envelope) = serde_json::from_str::<Value>(&entry.payload) {
        envelope["data"] = data.clone();
        entry.payload = envelope.to_string();
    }
    entry
}

pub(crate) async fn list<T: Docs>(
    store: &MongoStore,
    filter: T::Filter,
    window: PageRequest<i64>,
) -> Result<Listed<T>, Error> {
    let mut wanted = T::filter(filter);
    let collection = T::collection(store);
    wanted.insert("deleted_at", Bson::Null);
    let total =
        if window.include_total { Some(within(collection.count_documents(wanted.clone())).await?) } else { None };
    let later = doc! { "number": { "$gt": window.after.unwrap_or(0).max(0) } };
    let wanted = doc! { "$and": [wanted, later] };
    let rows: Vec<Document> = in_time(async {
        let find = collection.find(wanted).projection(without_others()).sort(doc! { "number": 1 });
        Ok(find.skip(u64::from(window.offset)).limit(window.fetch()).await?.try_collect().await?)
    })
    .await?;
    Ok((rows.into_iter().map(T::read).collect::<Result<_, _>>()?, total))
}

pub(crate) async fn all<T: Docs>(store: &MongoStore, after: &str) -> Result<Vec<T>, Error> {
    let rows: Vec<Document> = in_time(async {
        let find = T::collection(store).find(doc! { "_id": { "$gt": after } }).projection(without_others());
        Ok(find.sort(doc! { "_id": 1 }).limit(FACTS_PAGE).await?.try_collect().await?)
    })
    .await?;
    Ok(rows.into_iter().map(T::read).collect::<Result<_, _>>()?)
}
