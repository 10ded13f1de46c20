//! Customers' numbers, counted up from 1 without gaps, with no counter beside them.
//!
//! A counter in a document of its own would leave a gap after a crash or refusal between counting and writing. So the number
//! is the highest one plus one, and a unique index decides which of two inserts gets it; the other one reads again. A number
//! thus appears only after all lower ones, so a list in the order of numbers misses none.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::{MongoError, in_time};

/// Longest wait for earlier callers of this process.
const QUEUE: Duration = Duration::from_secs(4);

/// The queue of this process: its callers take turns, so that only replicas compete for a number. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Arc<Mutex<()>>);

impl Numbers {
    /// Waits for this caller's turn, which lasts until the returned guard is dropped.
    pub(super) async fn turn(&self) -> Result<OwnedMutexGuard<()>, MongoError> {
        tokio::time::timeout(QUEUE, Arc::clone(&self.0).lock_owned()).await.map_err(|_| MongoError::Away(None))
    }
}

/// The number after the highest.
pub(super) async fn next(customers: &Collection<Document>) -> Result<i64, MongoError> {
    let highest: Option<Document> = in_time(async {
        let find = customers.find(doc! { "number": { "$gte": 1_i64 } }).projection(doc! { "number": 1 });
        Ok(find.sort(doc! { "number": -1 }).limit(1).await?.try_next().await?)
    })
    .await?;
    Ok(highest.and_then(|found| found.get_i64("number").ok()).unwrap_or(0) + 1)
}
