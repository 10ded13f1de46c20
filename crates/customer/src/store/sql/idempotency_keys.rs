//! Responses stored by `Idempotency-Key` until they are pruned.

use commerce::Timestamp;
use db::{Tx, query};
use idempotency::{KeyedRequest, StoredResponse, Table};

use crate::error::Error;

const TABLE: Table = Table { name: "idempotency", fingerprint: "payload_hash", created_at: "created_at" };

/// The stored response to the same request before; an error if the key was used for another request.
pub(super) async fn find(tx: &mut Tx, request: Option<&KeyedRequest>) -> Result<Option<StoredResponse>, Error> {
    let Some(row) = TABLE.find::<Error>(tx, request, "status, body, location, etag").await? else { return Ok(None) };
    Ok(Some(StoredResponse {
        status: u16::try_from(row.get::<i64>("status")?).map_err(|_| Error::Defect("a stored status is no status"))?,
        body: row.get("body")?,
        location: row.get("location")?,
        etag: row.get("etag")?,
    }))
}

/// Stores the response in the transaction of its effect. `about` is the id of the person whose deletion deletes it.
pub(super) async fn store(
    tx: &mut Tx,
    request: Option<&KeyedRequest>,
    about: &str,
    response: &StoredResponse,
) -> Result<(), Error> {
    let Some(KeyedRequest { key, fingerprint }) = request else { return Ok(()) };
    let own = [
        ("about", about.into()),
        ("status", i64::from(response.status).into()),
        ("body", response.body.as_str().into()),
        ("location", response.location.as_str().into()),
        ("etag", response.etag.as_str().into()),
    ];
    Ok(TABLE.insert(tx, key, &fingerprint.to_base64(), Timestamp::now(), own).await?)
}

/// Deletes the responses about a person.
pub(super) async fn forget(tx: &mut Tx, about: &str) -> Result<(), Error> {
    query("delete from idempotency where about = $1").bind(about).execute(tx).await?;
    Ok(())
}
