//! Issued tokens and signing keys in MongoDB.

use commerce::Timestamp;
use futures::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use serde::Deserialize;

use super::MongoStore;
use crate::error::{MongoError, in_time, within};

#[derive(Deserialize)]
struct TokenDoc {
    #[serde(rename = "_id")]
    jti: String,
    #[serde(default)]
    expires_at: i64,
}

#[derive(Deserialize)]
struct KeyDoc {
    pkcs8: String,
}

fn now_seconds() -> i64 {
    Timestamp::now().micros() / 1_000_000
}

pub(crate) async fn record_token(
    store: &MongoStore,
    jti: &str,
    user: &str,
    expires_at: i64,
    revoked: bool,
) -> Result<(), MongoError> {
    // The same time twice: as a number for this service, as a date for the TTL index.
    let expires = DateTime::from_millis(expires_at.saturating_mul(1_000));
    let set = doc! { "user_id": user, "expires_at": expires_at, "expires": expires, "revoked": revoked };
    within(store.tokens.update_one(doc! { "_id": jti }, doc! { "$set": set }).upsert(true)).await?;
    Ok(())
}

/// Revokes all tokens of a user and returns their ids.
pub(crate) async fn end_tokens(store: &MongoStore, user: &str) -> Result<Vec<String>, MongoError> {
    let live = doc! { "user_id": user, "revoked": false };
    let tokens = tokens(store, live.clone()).await?;
    within(store.tokens.update_many(live, doc! { "$set": { "revoked": true } })).await?;
    Ok(tokens.into_iter().map(|token| token.jti).collect())
}

pub(crate) async fn revoked(store: &MongoStore) -> Result<Vec<(String, i64)>, MongoError> {
    let ended = tokens(store, doc! { "revoked": true, "expires_at": { "$gte": now_seconds() } }).await?;
    Ok(ended.into_iter().map(|token| (token.jti, token.expires_at)).collect())
}

async fn tokens(store: &MongoStore, filter: Document) -> Result<Vec<TokenDoc>, MongoError> {
    let tokens = store.tokens.clone_with_type::<TokenDoc>();
    in_time(async { Ok(tokens.find(filter).projection(doc! { "expires_at": 1 }).await?.try_collect().await?) }).await
}

/// Removes tokens that expired before that, at most a batch.
pub(super) async fn forget(store: &MongoStore, before: Timestamp) -> Result<u64, MongoError> {
    let before = before.micros().div_euclid(1_000_000);
    let limit = i64::try_from(upkeep::BATCH).unwrap_or(i64::MAX);
    let old: Vec<TokenDoc> = in_time(async {
        let tokens = store.tokens.clone_with_type::<TokenDoc>();
        Ok(tokens.find(doc! { "expires_at": { "$lt": before } }).limit(limit).await?.try_collect().await?)
    })
    .await?;
    if old.is_empty() {
        return Ok(0);
    }
    let ids: Vec<String> = old.into_iter().map(|token| token.jti).collect();
    Ok(within(store.tokens.delete_many(doc! { "_id": { "$in": ids } })).await?.deleted_count)
}

pub(crate) async fn signing_keys(store: &MongoStore) -> Result<Vec<String>, MongoError> {
    let keys = store.keys.clone_with_type::<KeyDoc>();
    let found: Vec<KeyDoc> =
        in_time(async { Ok(keys.find(doc! {}).sort(doc! { "created_at": -1, "_id": 1 }).await?.try_collect().await?) })
            .await?;
    Ok(found.into_iter().map(|key| key.pkcs8).collect())
}

pub(crate) async fn add_signing_key(store: &MongoStore, kid: &str, pkcs8: &str) -> Result<(), MongoError> {
    let key = doc! { "_id": kid, "pkcs8": pkcs8, "created_at": Timestamp::now().micros() };
    within(store.keys.insert_one(key)).await?;
    Ok(())
}
