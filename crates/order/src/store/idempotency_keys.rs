//! Requests by their Idempotency-Key, with the response once it is final.

use std::collections::HashMap;

use commerce::{OrderId, Timestamp};
use db::{Result, Tx, Value, insert, query};
use idempotency::{Key, KeyedRequest, Table};
use serde::{Deserialize, Serialize};

use super::OrderInsert;

const TABLE: Table = Table { name: "idempotency", fingerprint: "payload_hash", created_at: "created_at" };

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

/// A final response, which repeats of the request get byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The orders that these keys made, with the hash of the payload.
pub(super) async fn known_keys<'a>(
    tx: &mut Tx,
    keys: impl Iterator<Item = &'a Key>,
) -> Result<HashMap<Key, (OrderId, String)>> {
    let mut found = HashMap::new();
    let wanted: Vec<&Key> = keys.collect();
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
    const COLUMNS: &[&str] = &["subject", "route", "key", "payload_hash", "target_id", "created_at"];
    let keys = inserts.iter().filter_map(|new| {
        let key = new.key.as_ref()?;
        let (subject, name): (Value, Value) = (key.subject.as_str().into(), key.key.as_str().into());
        let target = new.order.id.as_str().into();
        let created_at = new.order.created_at.micros().into();
        Some(vec![subject, key.route.into(), name, new.payload_hash.as_str().into(), target, created_at])
    });
    insert("idempotency", COLUMNS, keys).execute(tx).await?;
    Ok(())
}

/// Stores a key with the id of what its request made.
pub(crate) async fn put_key(tx: &mut Tx, key: &Key, payload_hash: &str, target_id: &str, now: Timestamp) -> Result<()> {
    TABLE.insert(tx, key, payload_hash, now, [("target_id", target_id.into())]).await
}

/// Stores a key with the id of what its request made and the response, which is final at once.
pub(crate) async fn put_key_with_response(
    tx: &mut Tx,
    request: &KeyedRequest,
    target_id: &str,
    now: Timestamp,
    response: &StoredResponse,
) -> Result<()> {
    let status = i64::from(response.status).into();
    let own = [("target_id", target_id.into()), ("status", status), ("body", response.body.as_str().into())];
    TABLE.insert(tx, &request.key, &request.fingerprint.to_string(), now, own).await
}

/// What a key made: target id, hash of the payload, and the response once it is final.
pub(crate) async fn find_key(tx: &mut Tx, key: &Key) -> Result<Option<(String, String, Option<StoredResponse>)>> {
    let Some(row) = TABLE.row(tx, key, "target_id, status, body").await? else { return Ok(None) };
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
