//! Finishes operations that a crash interrupted. Every step is idempotent and may run in several replicas at once.

use commerce::Timestamp;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use std::time::Duration;

use super::{MongoStore, customers, relay, roles, users};
use crate::error::{MongoError, in_time};

/// Operations younger than this are left to the replica that started them.
const YOUNG: Duration = Duration::from_secs(5);
/// Most operations of a kind that are finished in one run.
const BATCH: i64 = 500;

pub(crate) async fn resume(store: &MongoStore) -> Result<u64, MongoError> {
    let mut finished = 0;
    let (now, pending) = (Timestamp::now(), doc! { "$exists": true });
    // One from the future was begun before a clock was put right.
    let young = doc! { "$gte": now.minus(YOUNG).micros(), "$lte": now.latest_deadline(YOUNG).micros() };
    for id in ids(&store.users, doc! { "pending": pending, "created_at": { "$not": young } }).await? {
        users::find_doc(store, doc! { "_id": id }).await?;
        finished += 1;
    }
    for id in ids(&store.customers, doc! { "leaving": true }).await? {
        customers::finish_leaving(store, &id).await?;
        finished += 1;
    }
    for id in ids(&store.users, doc! { "tokens_ending": true }).await? {
        roles::end_tokens(store, &id).await?;
        finished += 1;
    }
    relay::tidy(store).await?;
    Ok(finished)
}

async fn ids(collection: &Collection<Document>, filter: Document) -> Result<Vec<String>, MongoError> {
    let found: Vec<Document> = in_time(async {
        Ok(collection.find(filter).projection(doc! { "_id": 1 }).limit(BATCH).await?.try_collect().await?)
    })
    .await?;
    Ok(found.iter().filter_map(|found| found.get_str("_id").ok().map(str::to_owned)).collect())
}
