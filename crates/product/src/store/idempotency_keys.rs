//! Products stored by the Idempotency-Key of the request that wrote them, for its repeats.

use commerce::Timestamp;
use db::Tx;
use idempotency::{KeyedRequest, Table};

use crate::domain::Product;
use crate::error::Error;

const TABLE: Table = Table { name: "idempotency", fingerprint: "payload_hash", created_at: "created_at" };

/// The product that the same request wrote before. Locks the key until the transaction ends.
pub(super) async fn find(tx: &mut Tx, request: Option<&KeyedRequest>) -> Result<Option<Product>, Error> {
    let Some(KeyedRequest { key, .. }) = request else { return Ok(None) };
    idempotency::lock(tx, key).await?;
    let Some(row) = TABLE.find::<Error>(tx, request, "answer").await? else { return Ok(None) };
    let product = serde_json::from_str(&row.get::<String>("answer")?);
    Ok(Some(product.map_err(|_| db::Error::Unreadable("idempotency.answer"))?))
}

/// Stores the product for repeats, in the transaction of the effect.
pub(super) async fn store(tx: &mut Tx, request: Option<&KeyedRequest>, product: &Product) -> Result<(), Error> {
    let Some(KeyedRequest { key, fingerprint }) = request else { return Ok(()) };
    let answer = serde_json::to_string(product).map_err(|_| Error::Defect("a product is no JSON"))?;
    let (fingerprint, now) = (fingerprint.to_base64(), Timestamp::now());
    Ok(TABLE.insert(tx, key, &fingerprint, now, [("answer", answer.into())]).await?)
}
