//! Responses stored by `Idempotency-Key` until they are pruned.

use commerce::Timestamp;
use db::{Tx, query};

use crate::error::Error;
use idempotency::{Key, StoredResponse};

/// The stored response to an earlier request with this key; an error if that request was another one.
pub(super) async fn find(tx: &mut Tx, key: Option<&Key>) -> Result<Option<StoredResponse>, Error> {
    let Some(key) = key else { return Ok(None) };
    let row = query(
        "select payload_hash, status, body, location, etag from idempotency where subject = $1 and route = $2 and key = $3",
    )
    .bind(key.subject.as_str())
    .bind(key.route)
    .bind(key.key.as_str())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if !key.fingerprint.is(&row.get::<String>("payload_hash")?) {
        return Err(Error::KeyReused);
    }
    Ok(Some(StoredResponse {
        status: u16::try_from(row.get::<i64>("status")?).map_err(|_| Error::Defect("a kept status is no status"))?,
        body: row.get("body")?,
        location: row.get("location")?,
        etag: row.get("etag")?,
    }))
}

/// Stores the response in the transaction of its effect.
pub(super) async fn keep(tx: &mut Tx, key: Option<&Key>, about: &str, reply: &StoredResponse) -> Result<(), Error> {
    let Some(key) = key else { return Ok(()) };
    query(
        "insert into idempotency (subject, route, key, payload_hash, about, status, body, location, etag, created_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(key.subject.as_str())
    .bind(key.route)
    .bind(key.key.as_str())
    .bind(key.fingerprint.to_base64())
    .bind(about)
    .bind(i64::from(reply.status))
    .bind(reply.body.as_str())
    .bind(reply.location.as_str())
    .bind(reply.etag.as_str())
    .bind(Timestamp::now().micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes the responses about a person.
pub(super) async fn forget(tx: &mut Tx, about: &str) -> Result<(), Error> {
    query("delete from idempotency where about = $1").bind(about).execute(tx).await?;
    Ok(())
}
