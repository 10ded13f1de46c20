//! Deletes old data in small batches: periodic jobs, run by one replica at a time.

use std::time::Duration;

use commerce::Timestamp;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use upkeep::{BATCH, Job};

use super::{MongoStore, keys, relay};
use crate::error::{MongoError, in_time, within};
use crate::store::Retention;

/// The jobs of this store.
pub(crate) fn jobs(store: &MongoStore, keep: Retention) -> Vec<Job> {
    let job = |name, keep: Duration, what| {
        let store = store.clone();
        Job::new(name, move || {
            let store = store.clone();
            // By the server's clock: that of one replica may be days ahead.
            async move { Ok(batch(&store, what, relay::server_time(&store).await?.minus(keep)).await?) }
        })
    };
    vec![
        job("outbox", keep.events, Old::Events),
        job("idempotency", keep.replies, Old::Replies),
        job("tokens", Duration::ZERO, Old::Tokens),
    ]
}

/// The kinds of data that are pruned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Old {
    /// Events, since they were published.
    Events,
    /// Responses stored for repeated requests.
    Replies,
    /// Tokens, after they have expired. The server forgets them too, by their index, but not every server does.
    Tokens,
}

/// Removes what is older than that from at most [`BATCH`] documents; gives how many it touched.
pub(super) async fn batch(store: &MongoStore, what: Old, before: Timestamp) -> Result<u64, MongoError> {
    match what {
        Old::Events => {
            let mut touched = 0;
            for collection in store.with_events() {
                let ids = holding(collection, "outbox", "published_at", before).await?;
                if !ids.is_empty() {
                    // Recorded first: after a crash in between the audit expects nothing that was deleted.
                    let note = doc! { "$max": { "before": before.micros() } };
                    within(store.pruned.update_one(doc! { "_id": "outbox" }, note).upsert(true)).await?;
                }
                touched += pull(collection, ids, "outbox", "published_at", before).await?;
            }
            Ok(touched)
        }
        Old::Replies => {
            let mut touched = 0;
            // Each kind by itself may fill a batch; a sum that does makes one look too many.
            for collection in store.with_events().into_iter().chain([&store.users]) {
                let ids = holding(collection, "replies", "created_at", before).await?;
                touched += pull(collection, ids, "replies", "created_at", before).await?;
            }
            Ok(touched)
        }
        Old::Tokens => keys::forget(store, before).await,
    }
}

/// Before when published events may have been forgotten; none if none ever was.
pub(super) async fn events_before(store: &MongoStore) -> Result<Option<Timestamp>, MongoError> {
    let note = within(store.pruned.find_one(doc! { "_id": "outbox" })).await?;
    Ok(note.and_then(|note| note.get_i64("before").ok()).map(Timestamp::from_micros))
}

/// Documents, at most [`BATCH`], with an element in an array whose time is before that.
async fn holding(
    collection: &Collection<Document>,
    array: &str,
    time: &str,
    before: Timestamp,
) -> Result<Vec<Bson>, MongoError> {
    let mut holding = Document::new();
    holding.insert(format!("{array}.{time}"), doc! { "$lt": before.micros() });
    let found: Vec<Document> = in_time(async {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let cursor = collection.find(holding).projection(doc! { "_id": 1 }).limit(limit).await?;
        Ok(cursor.try_collect().await?)
    })
    .await?;
    Ok(found.into_iter().filter_map(|mut found| found.remove("_id")).collect())
}

/// Pulls the elements of an array whose time is before that from these documents.
async fn pull(
    collection: &Collection<Document>,
    ids: Vec<Bson>,
    array: &str,
    time: &str,
    before: Timestamp,
) -> Result<u64, MongoError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let (mut over, mut pull) = (Document::new(), Document::new());
    over.insert(time, doc! { "$lt": before.micros() });
    pull.insert(array, over);
    Ok(within(collection.update_many(doc! { "_id": { "$in": ids } }, doc! { "$pull": pull })).await?.modified_count)
}
