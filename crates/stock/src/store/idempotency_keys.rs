//! Stored responses of requests with an Idempotency-Key (table `answers`), kept for `idempotency_hours`.

use commerce::Timestamp;
use db::Tx;

use crate::error::Error;

/// A request under an Idempotency-Key.
#[derive(Debug, Clone)]
pub(crate) struct KeyedRequest {
    pub(crate) subject: String,
    pub(crate) route: &'static str,
    pub(crate) key: String,
    /// The request itself: the same key with another request is refused.
    pub(crate) request: String,
}

/// The response stored under this key. Locks the key until the transaction ends.
pub(crate) async fn find(tx: &mut Tx, keyed: &KeyedRequest) -> Result<Option<String>, Error> {
    tx.lock([format!("key/{}/{}/{}", keyed.subject, keyed.route, keyed.key)]).await?;
    let row = db::query("select request, body from answers where subject = $1 and route = $2 and key = $3")
        .bind(&keyed.subject)
        .bind(keyed.route)
        .bind(&keyed.key)
        .fetch_optional(tx)
        .await?;
    match row {
        None => Ok(None),
        Some(row) if row.get::<String>("request")? == keyed.request => Ok(Some(row.get("body")?)),
        Some(_) => Err(Error::KeyReused),
    }
}

/// Stores a response, in the transaction of its effect.
pub(crate) async fn remember(tx: &mut Tx, keyed: &KeyedRequest, body: &str, now: Timestamp) -> Result<(), Error> {
    db::query("insert into answers (subject, route, key, request, body, at) values ($1, $2, $3, $4, $5, $6)")
        .bind(&keyed.subject)
        .bind(keyed.route)
        .bind(&keyed.key)
        .bind(&keyed.request)
        .bind(body)
        .bind(now.micros())
        .execute(tx)
        .await?;
    Ok(())
}
