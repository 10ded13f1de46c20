//! Taking new orders.

use std::collections::HashMap;

use bus::{Message, NewEvent};
use commerce::{OrderId, Timestamp};
use db::{Result, Tx, Value, insert, query};

use super::{Lease, carts, rows::to_json};
use crate::domain::{CartId, Deltas, Order, State, Work};

/// A client's Idempotency-Key: one request per subject and route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) subject: String,
    pub(crate) route: &'static str,
    pub(crate) key: String,
}

impl Key {
    /// The name to be locked before it is looked up.
    pub(crate) fn name(&self) -> String {
        format!("key/{}/{}/{}", self.subject, self.route, self.key)
    }
}

/// An order to be taken.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    /// Without its number, which the store gives.
    pub(crate) order: Order,
    /// Whether the client chose the order's id, so that it may have come before.
    pub(crate) id_chosen: bool,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    pub(crate) lease: Lease,
    /// The trace of the request.
    pub(crate) traceparent: Option<String>,
    /// The version of the cart (`order.cart_id`) of which it is made.
    pub(crate) cart_version: Option<i64>,
}

/// What became of a placement.
#[derive(Debug, Clone)]
pub(crate) enum Placed {
    /// It is durable now.
    New(Box<Order>),
    /// The key came before, with this payload, and made this order.
    KnownKey { order_id: OrderId, payload_hash: String },
    /// The id came before, with this payload.
    KnownId { order_id: OrderId, payload_hash: String },
    /// Its cart is not what it was when it was read: somebody changed it, or is checking it out.
    CartChanged,
}

/// Takes orders, each with its key, the event that tells of it, and the same for those who know no events.
pub(crate) async fn place(
    tx: &mut Tx,
    placements: Vec<Placement>,
    event: impl Fn(&Order) -> NewEvent,
    plain: impl Fn(&Order) -> Option<Message>,
) -> Result<Vec<Placed>> {
    // Another replica may be asked for the same at the same time. Ids that we made ourselves are nobody else's.
    let names = placements.iter().flat_map(|p| {
        let key = p.key.as_ref().map(Key::name);
        let cart = p.order.cart_id.as_ref().map(|cart| carts::name(cart.as_str()));
        key.into_iter().chain(p.id_chosen.then(|| format!("order/{}", p.order.id))).chain(cart)
    });
    tx.lock(names).await?;
    let mut keys = known_keys(tx, placements.iter().filter_map(|p| p.key.as_ref())).await?;
    // An id that we made ourselves is new.
    let mut ids = known_ids(tx, placements.iter().filter(|p| p.id_chosen).map(|p| &p.order.id)).await?;
    let standing = carts::standing(tx, &placements).await?;
    let mut answers = Vec::with_capacity(placements.len());
    let mut new: Vec<Placement> = Vec::with_capacity(placements.len());
    for placement in placements {
        let hash = placement.payload_hash.clone();
        let id = placement.order.id.clone();
        if let Some((order_id, payload_hash)) = placement.key.as_ref().and_then(|key| keys.get(key)).cloned() {
            answers.push(Placed::KnownKey { order_id, payload_hash });
        } else if let Some(payload_hash) = ids.get(&id).cloned() {
            answers.push(Placed::KnownId { order_id: id, payload_hash });
        } else if !is_cart_as_read(&placement, &standing) {
            answers.push(Placed::CartChanged);
        } else {
            if let Some(key) = &placement.key {
                keys.insert(key.clone(), (id.clone(), hash.clone()));
            }
            ids.insert(id, hash);
            answers.push(Placed::New(Box::new(placement.order.clone())));
            new.push(placement);
        }
    }
    if new.is_empty() {
        return Ok(answers);
    }
    let mut number = next_numbers(tx, new.len()).await?;
    let mut numbered = HashMap::new();
    for placement in &mut new {
        placement.order.number = number;
        numbered.insert(placement.order.id.clone(), number);
        number += 1;
    }
    for answer in &mut answers {
        if let Placed::New(order) = answer {
            order.number = numbered.get(&order.id).copied().unwrap_or_default();
        }
    }
    insert_orders(tx, &new, Some(&Work::Checkout)).await?;
    insert_keys(tx, &new).await?;
    carts::begin(tx, &new).await?;
    bus::outbox::append(tx, crate::NAME, new.iter().map(|p| event(&p.order).traced(p.traceparent.clone())).collect())
        .await?;
    bus::outbox::append_plain(tx, new.iter().filter_map(|p| plain(&p.order)).collect()).await?;
    Ok(answers)
}

/// Whether the order's cart, if it is made of one, is still what the order was made of.
fn is_cart_as_read(placement: &Placement, standing: &HashMap<CartId, carts::Standing>) -> bool {
    let Some(cart) = &placement.order.cart_id else { return true };
    standing.get(cart).is_some_and(|now| {
        !now.checking_out && Some(now.version) == placement.cart_version && now.order_id == placement.order.id
    })
}

async fn known_ids<'a>(tx: &mut Tx, ids: impl Iterator<Item = &'a OrderId>) -> Result<HashMap<OrderId, String>> {
    let ids: Vec<&OrderId> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    query("select id, payload_hash from orders where id in {list $1}")
        .list(ids.into_iter().map(OrderId::as_str))
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok((OrderId::trusted(row.get("id")?), row.get("payload_hash")?)))
        .collect()
}

async fn known_keys<'a>(tx: &mut Tx, keys: impl Iterator<Item = &'a Key>) -> Result<HashMap<Key, (OrderId, String)>> {
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

/// The first of so many new numbers.
async fn next_numbers(tx: &mut Tx, count: usize) -> Result<i64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let row = query("update counters set last = last + $1 where kind = 'order' returning last")
        .bind(count)
        .fetch_one(tx)
        .await?;
    Ok(row.get::<i64>("last")? - count + 1)
}

/// Writes orders that were over before they came here, and counts them in the summaries. Nobody is told.
pub(crate) async fn insert_done(tx: &mut Tx, mut done: Vec<Placement>) -> Result<()> {
    let first = next_numbers(tx, done.len()).await?;
    let mut sales = Deltas::default();
    for (number, placement) in (first..).zip(&mut done) {
        placement.order.number = number;
        if placement.order.state == State::Confirmed {
            sales.order(&placement.order, false);
        }
    }
    insert_orders(tx, &done, None).await?;
    super::sales::add(tx, sales).await
}

const ORDER_COLUMNS: &[&str] = &[
    "id",
    "number",
    "customer_id",
    "place_id",
    "state",
    "status",
    "states",
    "history",
    "adjustments",
    "total",
    "currency",
    "payment_method",
    "payment_status",
    "shipping",
    "notes",
    "placed_at",
    "created_at",
    "updated_at",
    "version",
    "sequence",
    "payload_hash",
    "work",
    "lease_owner",
    "lease_epoch",
    "lease_until",
    "cart_id",
    "channel",
    "summed",
    "metadata",
];

/// Writes orders and their lines; what is confirmed already counts as summed.
async fn insert_orders(tx: &mut Tx, new: &[Placement], work: Option<&Work>) -> Result<()> {
    let work = work.map(to_json);
    let orders = new.iter().map(|placement| {
        let (o, lease) = (&placement.order, &placement.lease);
        vec![
            o.id.as_str().into(),
            o.number.into(),
            o.customer_id.as_ref().map(|id| id.as_str()).into(),
            o.place_id.as_str().into(),
            o.state.as_str().into(),
            o.status.as_str().into(),
            to_json(&o.states).into(),
            to_json(&o.history).into(),
            to_json(&o.adjustments).into(),
            o.total.minor().into(),
            o.currency.as_str().into(),
            o.payment.method.as_str().into(),
            o.payment.status.as_str().into(),
            o.shipping_address.as_ref().map(to_json).into(),
            o.notes.as_deref().into(),
            o.placed_at.micros().into(),
            o.created_at.micros().into(),
            o.updated_at.micros().into(),
            o.version.into(),
            o.sequence.into(),
            placement.payload_hash.as_str().into(),
            work.as_deref().into(),
            lease.owner.as_str().into(),
            lease.epoch.into(),
            lease.until.micros().into(),
            o.cart_id.as_ref().map(|id| id.as_str()).into(),
            o.channel.as_str().into(),
            (o.state == State::Confirmed).into(),
            (!o.metadata.is_empty()).then(|| to_json(&o.metadata)).into(),
        ]
    });
    insert("orders", ORDER_COLUMNS, orders).execute(tx).await?;
    let lines = new.iter().flat_map(|placement| {
        let order = &placement.order;
        (1_i64..).zip(&order.lines).map(|(position, line)| -> Vec<Value> {
            vec![
                order.id.as_str().into(),
                position.into(),
                line.product_id.as_ref().map(|id| id.as_str()).into(),
                line.name.as_str().into(),
                line.quantity.get().into(),
                line.returned.into(),
                line.unit_price.minor().into(),
            ]
        })
    });
    insert("order_lines", &["order_id", "position", "product_id", "name", "quantity", "returned", "unit_price"], lines)
        .execute(tx)
        .await?;
    Ok(())
}

async fn insert_keys(tx: &mut Tx, new: &[Placement]) -> Result<()> {
    let keys = new.iter().filter_map(|placement| {
        let key = placement.key.as_ref()?;
        Some(key_row(key, &placement.payload_hash, placement.order.id.as_str(), placement.order.created_at))
    });
    insert("idempotency", KEY_COLUMNS, keys).execute(tx).await?;
    Ok(())
}

const KEY_COLUMNS: &[&str] = &["subject", "route", "key", "payload_hash", "target_id", "created_at"];

fn key_row(key: &Key, payload_hash: &str, target_id: &str, now: Timestamp) -> Vec<Value> {
    vec![
        key.subject.as_str().into(),
        key.route.into(),
        key.key.as_str().into(),
        payload_hash.into(),
        target_id.into(),
        now.micros().into(),
    ]
}

/// Notes a key with what its request made.
pub(crate) async fn put_key(tx: &mut Tx, key: &Key, payload_hash: &str, target_id: &str, now: Timestamp) -> Result<()> {
    insert("idempotency", KEY_COLUMNS, [key_row(key, payload_hash, target_id, now)]).execute(tx).await?;
    Ok(())
}

/// Notes a key with what its request made and its answer, which is final at once.
pub(crate) async fn put_answered(
    tx: &mut Tx,
    key: &Key,
    payload_hash: &str,
    target_id: &str,
    now: Timestamp,
    answer: &super::Answer,
) -> Result<()> {
    const COLUMNS: &[&str] = &["subject", "route", "key", "payload_hash", "target_id", "created_at", "status", "body"];
    let mut row = key_row(key, payload_hash, target_id, now);
    row.extend([i64::from(answer.status).into(), answer.body.as_str().into()]);
    insert("idempotency", COLUMNS, [row]).execute(tx).await?;
    Ok(())
}

/// What a key made before: target, payload, and the answer once it is final.
pub(crate) async fn find_key(tx: &mut Tx, key: &Key) -> Result<Option<(String, String, Option<super::Answer>)>> {
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
    let answer = match (row.get::<Option<i64>>("status")?, row.get::<Option<String>>("body")?) {
        (Some(status), Some(body)) => u16::try_from(status).ok().map(|status| super::Answer { status, body }),
        _ => None,
    };
    Ok(Some((row.get("target_id")?, row.get("payload_hash")?, answer)))
}
