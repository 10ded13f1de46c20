//! The outbox of this store: events embedded in the documents of customers, prospects and activities; and leases.

use bus::Message;
use bus::outbox::{self, PendingMessage};
use commerce::Timestamp;
use futures::TryStreamExt;
use futures::future::try_join_all;
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::Deserialize;
use upkeep::Lease;

use super::docs::Entry;
use super::{MongoStore, prune, schema};
use crate::error::{MongoError, in_time, within};
use crate::events;

/// Documents marked at once.
const AT_ONCE: usize = 16;

#[derive(Deserialize)]
struct OutboxDump {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    waiting_since: i64,
    #[serde(default)]
    outbox: Vec<Entry>,
}

fn with_outbox(collection: &Collection<Document>) -> Collection<OutboxDump> {
    collection.clone_with_type()
}

/// The subject of a document's events, which is the key of their messages.
fn subject(collection: &Collection<Document>, id: &str) -> String {
    if collection.name() == schema::ACTIVITIES { events::activity_subject(id) } else { id.to_owned() }
}

fn unpublished() -> Document {
    doc! { "$elemMatch": { "published_at": Bson::Null } }
}

/// Documents are published one after the other, the one that waits longest first, and the events of each in their
/// order. An id has no slash, so the name of an event can be taken apart again.
pub(super) async fn pending(store: &MongoStore, shards: &[i64], limit: i64) -> Result<Vec<PendingMessage>, MongoError> {
    let filter = doc! {
        "waiting_since": { "$gte": 0_i64 }, "shard": { "$in": shards }, "outbox": unpublished(),
    };
    let mut found: Vec<(&Collection<Document>, OutboxDump)> = Vec::new();
    for collection in store.with_events() {
        let some: Vec<OutboxDump> = in_time(async {
            let documents = with_outbox(collection);
            let find = documents.find(filter.clone()).projection(doc! { "outbox": 1, "waiting_since": 1 });
            Ok(find.sort(doc! { "waiting_since": 1 }).limit(limit).await?.try_collect().await?)
        })
        .await?;
        found.extend(some.into_iter().map(|found| (collection, found)));
    }
    found.sort_by_key(|(_, found)| found.waiting_since);
    let messages = found.into_iter().flat_map(|(collection, found)| {
        let key = subject(collection, &found.id);
        let name = format!("{}/{}", collection.name(), found.id);
        found.outbox.into_iter().filter(|entry| entry.published_at.is_none()).map(move |entry| {
            let id = format!("{name}/{}", entry.sequence);
            PendingMessage { id, message: Message { topic: entry.topic, key: key.clone(), payload: entry.payload } }
        })
    });
    Ok(messages.take(usize::try_from(limit).unwrap_or(0)).collect())
}

pub(super) async fn mark(store: &MongoStore, ids: &[String]) -> Result<(), MongoError> {
    let mut by_document: Vec<(&str, Vec<i64>)> = Vec::new();
    for id in ids {
        let Some((document, sequence)) = id.rsplit_once('/') else { continue };
        let Ok(sequence) = sequence.parse() else { continue };
        match by_document.last_mut() {
            Some((last, sequences)) if *last == document => sequences.push(sequence),
            _ => by_document.push((document, vec![sequence])),
        }
    }
    let now = Timestamp::now().micros();
    for some in by_document.chunks(AT_ONCE) {
        try_join_all(some.iter().map(|(document, sequences)| mark_one(store, document, sequences, now))).await?;
    }
    Ok(())
}

async fn mark_one(store: &MongoStore, document: &str, sequences: &[i64], now: i64) -> Result<(), MongoError> {
    let Some((collection, id)) = document.split_once('/') else { return Ok(()) };
    let Some(collection) = store.with_events().into_iter().find(|found| found.name() == collection) else {
        return Ok(());
    };
    let published = doc! { "$set": { "outbox.$[event].published_at": now } };
    let which = doc! { "event.sequence": { "$in": sequences } };
    within(collection.update_one(doc! { "_id": id }, published).array_filters([which])).await?;
    within(collection.update_one(quiet(Some(id)), doc! { "$unset": { "waiting_since": "" } })).await?;
    Ok(())
}

/// Documents of which nothing waits although they say so.
fn quiet(id: Option<&str>) -> Document {
    let mut filter = doc! { "waiting_since": { "$gte": 0_i64 }, "outbox": { "$not": unpublished() } };
    if let Some(id) = id {
        filter.insert("_id", id);
    }
    filter
}

/// What a relay that died between its two steps has left: harmless, but looked at in vain.
pub(super) async fn tidy(store: &MongoStore) -> Result<(), MongoError> {
    for collection in store.with_events() {
        within(collection.update_many(quiet(None), doc! { "$unset": { "waiting_since": "" } })).await?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Backlog {
    waiting: i64,
    oldest: i64,
}

pub(super) async fn backlog(store: &MongoStore) -> Result<(i64, Option<Timestamp>), MongoError> {
    let steps = [
        doc! { "$match": { "waiting_since": { "$gte": 0_i64 } } },
        doc! { "$project": { "outbox.created_at": 1, "outbox.published_at": 1 } },
        doc! { "$unwind": "$outbox" },
        doc! { "$match": { "outbox.published_at": Bson::Null } },
        doc! { "$group": { "_id": Bson::Null, "waiting": { "$sum": 1_i64 }, "oldest": { "$min": "$outbox.created_at" } } },
    ];
    let mut found: Vec<Backlog> = Vec::new();
    for collection in store.with_events() {
        let steps = steps.clone();
        let some: Vec<Backlog> =
            in_time(async { Ok(collection.aggregate(steps).with_type::<Backlog>().await?.try_collect().await?) })
                .await?;
        found.extend(some);
    }
    let oldest = found.iter().map(|found| found.oldest).min();
    Ok((found.iter().map(|found| found.waiting).sum(), oldest.map(Timestamp::from_micros)))
}

/// The events that are kept, those of one subject in their order.
pub(super) async fn dump(store: &MongoStore) -> Result<outbox::OutboxDump, MongoError> {
    let filter = doc! { "sequence": { "$gte": 1_i64 } };
    let mut events = Vec::new();
    for collection in store.with_events() {
        // Read as a stream that may take as long as it takes: an auditor waits.
        let documents = with_outbox(collection);
        let find = documents.find(filter.clone()).projection(doc! { "outbox": 1 });
        let mut documents = within(find.sort(doc! { "number": 1 })).await?;
        while let Some(document) = within(documents.try_next()).await? {
            let subject = subject(collection, &document.id);
            events.extend(document.outbox.into_iter().map(|entry| entry.into_event(&subject)));
        }
    }
    // Read after them: what is forgotten in between is counted as such.
    let pruned_before = prune::events_before(store).await?;
    Ok(outbox::OutboxDump { events, pruned_before })
}

#[derive(Deserialize)]
struct LeaseDoc {
    #[serde(rename = "_id")]
    name: String,
    owner: String,
    until: i64,
}

/// Every lease, run out or not.
pub(super) async fn held(store: &MongoStore) -> Result<Vec<Lease>, MongoError> {
    let leases = store.leases.clone_with_type::<LeaseDoc>();
    let found: Vec<LeaseDoc> = in_time(async { Ok(leases.find(doc! {}).await?.try_collect().await?) }).await?;
    let lease =
        |kept: LeaseDoc| Lease { name: kept.name, owner: kept.owner, until: Timestamp::from_micros(kept.until) };
    Ok(found.into_iter().map(lease).collect())
}

/// The time by the clock of the server.
pub(super) async fn server_time(store: &MongoStore) -> Result<Timestamp, MongoError> {
    let hello = within(store.database.run_command(doc! { "hello": 1 })).await?;
    let millis = hello.get_datetime("localTime").map_or_else(|_| DateTime::now(), |time| *time).timestamp_millis();
    Ok(Timestamp::from_micros(millis * 1_000))
}

/// Takes a lease that is free, expired, void, or the owner's already.
pub(super) async fn take(
    store: &MongoStore,
    name: &str,
    owner: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, MongoError> {
    let latest = until.micros() + until.micros() - now.micros();
    let over = [doc! { "until": { "$lte": now.micros() } }, doc! { "until": { "$gt": latest } }];
    let free = doc! { "_id": name, "$or": [{ "owner": owner }, { "$or": over.to_vec() }] };
    // Also as a date, by which the server forgets the leases of replicas that come no more.
    let expires = DateTime::from_millis(until.micros() / 1_000);
    let taken = doc! { "$set": { "owner": owner, "until": until.micros(), "expires": expires } };
    match within(store.leases.update_one(free, taken).upsert(true)).await {
        Ok(_) => Ok(true),
        // There is one of that name, and it is another's.
        Err(failure) if failure.duplicate().is_some() => Ok(false),
        Err(failure) => Err(failure),
    }
}

pub(super) async fn release(store: &MongoStore, name: &str, owner: &str) -> Result<(), MongoError> {
    within(store.leases.delete_one(doc! { "_id": name, "owner": owner })).await?;
    Ok(())
}
