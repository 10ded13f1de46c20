//! Stored responses of requests with an Idempotency-Key (table `answers`), kept for `idempotency_hours`.

use commerce::Timestamp;
use db::Tx;
use idempotency::{KeyedRequest, Table};

use crate::error::Error;

const TABLE: Table = Table { name: "answers", fingerprint: "request", created_at: "at" };

/// The response to the same request before. Locks the key until the transaction ends.
pub(crate) async fn find(tx: &mut Tx, request: Option<&KeyedRequest>) -> Result<Option<String>, Error> {
    let Some(KeyedRequest { key, .. }) = request else { return Ok(None) };
    idempotency::lock(tx, key).await?;
    let row = TABLE.find::<Error>(tx, request, "body").await?;
    Ok(row.map(|row| row.get("body")).transpose()?)
}

/// Stores a response, in the transaction of its effect.
pub(crate) async fn store(
    tx: &mut Tx,
    request: Option<&KeyedRequest>,
    body: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(KeyedRequest { key, fingerprint }) = request else { return Ok(()) };
    Ok(TABLE.insert(tx, key, &fingerprint.to_base64(), now, [("body", body.into())]).await?)
}
