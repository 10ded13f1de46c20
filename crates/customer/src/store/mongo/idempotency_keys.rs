//! Responses stored by `Idempotency-Key` until they are pruned, each embedded in the document that it is about.
//!
//! A response is written with its effect, in the one operation that inserts or updates the document. Of two concurrent requests
//! with the same key, a unique index over the keys of all documents refuses one, which reads again and finds the other's response.

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde::Deserialize;

use super::docs::{Kept, reply_id};
use crate::error::Error;
use crate::error::within;
use idempotency::{KeyedRequest, StoredResponse};

#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    replies: Vec<Kept>,
}

/// The stored response to an earlier request with this key; an error if that request was another one.
pub(super) async fn find(
    collection: &Collection<Document>,
    key: &KeyedRequest,
) -> Result<Option<StoredResponse>, Error> {
    let id = reply_id(key);
    let holders = collection.clone_with_type::<Holder>();
    let Some(holder) = within(holders.find_one(doc! { "replies.id": &id }).projection(doc! { "replies": 1 })).await?
    else {
        return Ok(None);
    };
    let Some(kept) = holder.replies.into_iter().find(|kept| kept.id == id) else {
        return Ok(None);
    };
    if !key.fingerprint.is(&kept.payload_hash) {
        return Err(idempotency::Reused.into());
    }
    Ok(Some(StoredResponse {
        status: u16::try_from(kept.status).map_err(|_| Error::Defect("a kept status is no status"))?,
        body: kept.body,
        location: kept.location,
        etag: kept.etag,
    }))
}
