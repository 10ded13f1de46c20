//! Answers stored for a day by their idempotency key.

use commerce::Timestamp;
use db::{Tx, query};

use idempotency::Key;

use crate::domain::Product;
use crate::error::Error;

/// The product of the first answer, when the same came before under this key.
pub(super) async fn find(tx: &mut Tx, key: Option<&Key>) -> Result<Option<Product>, Error> {
    let Some(key) = key else { return Ok(None) };
    tx.lock([format!("key/{}/{}/{}", key.subject, key.route, key.key)]).await?;
    let row = query("select payload_hash, answer from idempotency where subject = $1 and route = $2 and key = $3")
        .bind(key.subject.as_str())
        .bind(key.route)
        .bind(key.key.as_str())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if !key.fingerprint.is(&row.get::<String>("payload_hash")?) {
        return Err(Error::KeyReused);
    }
    let answer: String = row.get("answer")?;
    Ok(Some(serde_json::from_str(&answer).map_err(|_| db::Error::Unreadable("idempotency.answer"))?))
}

/// Keeps the product as it was answered, in the transaction of the effect.
pub(super) async fn keep(tx: &mut Tx, key: Option<&Key>, product: &Product) -> Result<(), Error> {
    let Some(key) = key else { return Ok(()) };
    let answer = serde_json::to_string(product).map_err(|_| Error::Defect("a product is no JSON"))?;
    query("insert into idempotency (subject, route, key, payload_hash, answer, created_at) values ($1, $2, $3, $4, $5, $6)")
        .bind(key.subject.as_str())
        .bind(key.route)
        .bind(key.key.as_str())
        .bind(key.fingerprint.to_base64())
        .bind(answer)
        .bind(Timestamp::now().micros())
        .execute(tx)
        .await?;
    Ok(())
}
