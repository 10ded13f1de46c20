//! Requests by their Idempotency-Key, with the response once it is final.

use std::collections::HashMap;

use commerce::{OrderId, Timestamp};
use db::{Result, Tx, Value, insert, query};
use serde::{Deserialize, Serialize};

use super::OrderInsert;

/// The routes whose requests are stored by their Idempotency-Key. A key is unique within subject and route.
pub(crate) mod routes {
    pub(crate) const ORDERS: &str = "orders";
    pub(crate) const RETURNS: &str = "returns";
    pub(crate) const CARTS: &str = "carts";
    pub(crate) const CART_ITEMS: &str = "cart items";
    pub(crate) const CART_CLAIMS: &str = "cart claims";
    pub(crate) const CART_CHECKOUTS: &str = "cart checkouts";
    pub(crate) const SALES: &str = "sales";
}

/// A client's Idempotency-Key: one request per subject and route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct IdempotencyKey {
    pub(crate) subject: String,
    pub(crate) route: &'static str,
    pub(crate) key: String,
}

impl IdempotencyKey {
    /// The name to lock before the key is looked up.
    pub(crate) fn lock_name(&self) -> String {
        format!("key/{}/{}/{}", self.subject, self.route, self.key)
    }
}

/// A final response, which repeats of the request get byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The orders that these keys made, with the hash of the payload.
pub(super) async fn known_keys<'a>(
    tx: &mut Tx,
    keys: impl Iterator<Item = &'a IdempotencyKey>,
) -> Result<HashMap<IdempotencyKey, (OrderId, String)>> {
    let mut found = HashMap::new();
    let wanted: Vec<&IdempotencyKey> = keys.collect();
    if wanted.is_empty() {
        return Ok(found);
    }
    let rows = query(
        "select i.subject, i.route, i.key, i.target_id, i.payload_hash
         from {rows $1} r join idempotency i
           on i.subject = r.value->>0 and i.route = r.value->>1 and i.key = r.value->>2",
    )
    .rows(wanted.iter().map(|k| vec![k.subject.as_str().into(), k.route.into(), k.key.as_str().into()]))
    .fetch_all(tx)
    .await?;
    for row in &rows {
        let (subject, route, key): (String, String, String) = (row.get("subject")?, row.get("route")?, row.get("key")?);
        if let Some(known) = wanted.iter().find(|k| k.subject == subject && k.route == route && k.key == key) {
            let target = (OrderId::trusted(row.get("target_id")?), row.get("payload_hash")?);
            found.insert((*known).clone(), target);
        }
    }
    Ok(found)
}

/// Stores the keys of new orders.
pub(super) async fn put_keys(tx: &mut Tx, inserts: &[&OrderInsert]) -> Result<()> {
    let keys = inserts.iter().filter_map(|new| {
        let key = new.key.as_ref()?;
        Some(key_row(key, &new.payload_hash, new.order.id.as_str(), new.order.created_at))
    });
    insert("idempotency", KEY_COLUMNS, keys).execute(tx).await?;
    Ok(())
}

const KEY_COLUMNS: &[&str] = &["subject", "route", "key", "payload_hash", "target_id", "created_at"];

fn key_row(key: &IdempotencyKey, payload_hash: &str, target_id: &str, now: Timestamp) -> Vec<Value> {
    vec![
        key.subject.as_str().into(),
        key.route.into(),
        key.key.as_str().into(),
        payload_hash.into(),
        target_id.into(),
        now.micros().into(),
    ]
}

/// Stores a key with the id of what its request made.
pub(crate) async fn put_key(
    tx: &mut Tx,
    key: &IdempotencyKey,
    payload_hash: &str,
    target_id: &str,
    now: Timestamp,
) -> Result<()> {
    insert("idempotency", KEY_COLUMNS, [key_row(key, payload_hash, target_id, now)]).execute(tx).await?;
    Ok(())
}

/// Stores a key with the id of what its request made and the response, which is final at once.
pub(crate) async fn put_key_with_response(
    tx: &mut Tx,
    key: &IdempotencyKey,
    payload_hash: &str,
    target_id: &str,
    now: Timestamp,
    response: &StoredResponse,
) -> Result<()> {
    const COLUMNS: &[&str] = &["subject", "route", "key", "payload_hash", "target_id", "created_at", "status", "body"];
    let mut row = key_row(key, payload_hash, target_id, now);
    row.extend([i64::from(response.status).into(), response.body.as_str().into()]);
    insert("idempotency", COLUMNS, [row]).execute(tx).await?;
    Ok(())
}

/// What a key made: target id, hash of the payload, and the response once it is final.
pub(crate) async fn find_key(
    tx: &mut Tx,
    key: &IdempotencyKey,
) -> Result<Option<(String, String, Option<StoredResponse>)>> {
    let row = query(
        "select target_id, payload_hash, status, body from idempotency
         where subject = $1 and route = $2 and key = $3",
    )
    .bind(key.subject.as_str())
    .bind(key.route)
    .bind(key.key.as_str())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let response = match (row.get::<Option<i64>>("status")?, row.get::<Option<String>>("body")?) {
        (Some(status), Some(body)) => u16::try_from(status).ok().map(|status| StoredResponse { status, body }),
        _ => None,
    };
    Ok(Some((row.get("target_id")?, row.get("payload_hash")?, response)))
}

/// Stores the final response for the keys of a route that made `target_id` and have none.
pub(crate) async fn put_response(tx: &mut Tx, route: &str, target_id: &str, response: &StoredResponse) -> Result<()> {
    query("update idempotency set status = $1, body = $2 where target_id = $3 and route = $4 and status is null")
        .bind(i64::from(response.status))
        .bind(response.body.as_str())
        .bind(target_id)
        .bind(route)
        .execute(tx)
        .await?;
    Ok(())
}

/// Stores the final responses for all keys that made these orders: rows of order id, status and body.
pub(super) async fn put_order_responses(tx: &mut Tx, responses: Vec<Vec<Value>>) -> Result<()> {
    if responses.is_empty() {
        return Ok(());
    }
    query(
        "update idempotency set status = cast(r.value->>1 as bigint), body = r.value->>2
         from {rows $1} r where target_id = r.value->>0 and route in ($2, $3, $4) and status is null",
    )
    .rows(responses)
    .bind(routes::ORDERS)
    .bind(routes::CART_CHECKOUTS)
    .bind(routes::SALES)
    .execute(tx)
    .await?;
    Ok(())
}
