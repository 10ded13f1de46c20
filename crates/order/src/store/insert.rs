//! Inserting new orders.

use std::collections::{HashMap, HashSet};

use bus::{Message, NewEvent};
use commerce::{OrderId, Timestamp};
use db::{Result, Tx, insert, query};

use super::{
    Lease, carts,
    idempotency_keys::{known_keys, put_keys},
    order_row::{INSERT_COLUMNS, LINE_COLUMNS, OrderRow, line_cells},
    withdrawals,
};
use idempotency::Key;

use crate::domain::{CartId, Deltas, Order, PendingWork, SagaState};

/// A new order.
#[derive(Debug, Clone)]
pub(crate) struct OrderInsert {
    /// Without its number, which the store assigns.
    pub(crate) order: Order,
    /// Whether the client chose the order's id, so that the id may exist.
    pub(crate) id_chosen: bool,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    /// When the order is withdrawn unless it is acknowledged.
    pub(crate) acknowledge_by: Option<Timestamp>,
    pub(crate) lease: Lease,
    /// The trace of the request.
    pub(crate) traceparent: Option<String>,
    /// The version of the order's cart as it was read.
    pub(crate) cart_version: Option<i64>,
}

/// The result of an insert.
#[derive(Debug, Clone)]
pub(crate) enum InsertOutcome {
    /// The order is inserted.
    Inserted(Box<Order>),
    /// The key exists, with this payload, and made this order.
    ExistingKey { order_id: OrderId, payload_hash: String },
    /// The id exists, with this payload.
    ExistingId { order_id: OrderId, payload_hash: String },
    /// The order was withdrawn before it came.
    Withdrawn,
    /// The order's cart was changed, or is being checked out by another request.
    CartChanged,
}

/// Inserts orders, each with its key, its event, and its plain message if `message` makes one.
pub(crate) async fn insert_orders(
    tx: &mut Tx,
    inserts: &[&OrderInsert],
    event: impl Fn(&Order) -> NewEvent,
    message: impl Fn(&Order) -> Option<Message>,
) -> Result<Vec<InsertOutcome>> {
    // Another replica may insert the same key, id or cart at the same time. Ids made by this service are unique.
    let names = inserts.iter().flat_map(|new| {
        let key = new.key.as_ref().map(Key::lock_name);
        let cart = new.order.cart_id.as_ref().map(|cart| carts::lock_name(cart.as_str()));
        key.into_iter().chain(new.id_chosen.then(|| withdrawals::lock_name(&new.order.id))).chain(cart)
    });
    tx.lock(names).await?;
    let mut outcomes = classify(tx, inserts).await?;
    let new_count = outcomes.iter().filter(|outcome| matches!(outcome, InsertOutcome::Inserted(_))).count();
    if new_count == 0 {
        return Ok(outcomes);
    }
    let mut numbers = next_numbers(tx, new_count).await?..;
    let mut new_orders: Vec<NewRow<'_>> = Vec::with_capacity(new_count);
    for (outcome, insert) in outcomes.iter_mut().zip(inserts) {
        if let InsertOutcome::Inserted(order) = outcome {
            order.number = numbers.next().unwrap_or_default();
            new_orders.push(NewRow { order, insert });
        }
    }
    let new_inserts: Vec<&OrderInsert> = new_orders.iter().map(|new| new.insert).collect();
    insert_rows(tx, &new_orders, Some(&PendingWork::Checkout)).await?;
    put_keys(tx, &new_inserts).await?;
    withdrawals::put_deadlines(tx, &new_inserts).await?;
    carts::begin_checkouts(tx, &new_inserts).await?;
    let events = new_orders.iter().map(|new| event(new.order).traced(new.insert.traceparent.clone())).collect();
    bus::outbox::append(tx, crate::NAME, events).await?;
    bus::outbox::append_plain(tx, new_orders.iter().filter_map(|new| message(new.order)).collect()).await?;
    Ok(outcomes)
}

/// The outcome of each insert, before it is written.
async fn classify(tx: &mut Tx, inserts: &[&OrderInsert]) -> Result<Vec<InsertOutcome>> {
    let mut keys = known_keys(tx, inserts.iter().filter_map(|new| new.key.as_ref())).await?;
    let chosen = || inserts.iter().filter(|new| new.id_chosen).map(|new| &new.order.id);
    let mut ids = known_ids(tx, chosen()).await?;
    let withdrawn =
        if chosen().next().is_some() { withdrawals::withdrawn(tx, chosen()).await? } else { HashSet::new() };
    let cart_states = carts::cart_states(tx, inserts).await?;
    let mut outcomes = Vec::with_capacity(inserts.len());
    for new in inserts {
        let (id, hash) = (&new.order.id, &new.payload_hash);
        outcomes.push(
            if let Some((order_id, payload_hash)) = new.key.as_ref().and_then(|key| keys.get(key)).cloned() {
                InsertOutcome::ExistingKey { order_id, payload_hash }
            } else if withdrawn.contains(id) {
                InsertOutcome::Withdrawn
            } else if let Some(payload_hash) = ids.get(id).cloned() {
                InsertOutcome::ExistingId { order_id: id.clone(), payload_hash }
            } else if !is_cart_as_read(new, &cart_states) {
                InsertOutcome::CartChanged
            } else {
                // Later inserts of the same batch find this one.
                if let Some(key) = &new.key {
                    keys.insert(key.clone(), (id.clone(), hash.clone()));
                }
                ids.insert(id.clone(), hash.clone());
                InsertOutcome::Inserted(Box::new(new.order.clone()))
            },
        );
    }
    Ok(outcomes)
}

/// Whether the order's cart, if it has one, is still as the order was made of it.
fn is_cart_as_read(new: &OrderInsert, cart_states: &HashMap<CartId, carts::CartState>) -> bool {
    let Some(cart) = &new.order.cart_id else { return true };
    cart_states
        .get(cart)
        .is_some_and(|now| !now.checking_out && Some(now.version) == new.cart_version && now.order_id == new.order.id)
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

/// Allocates consecutive order numbers and returns the first.
async fn next_numbers(tx: &mut Tx, count: usize) -> Result<i64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let row = query("update counters set last = last + $1 where kind = 'order' returning last")
        .bind(count)
        .fetch_one(tx)
        .await?;
    Ok(row.get::<i64>("last")? - count + 1)
}

/// Inserts terminal orders without events, and adds the confirmed ones to the summaries of sales.
pub(crate) async fn insert_terminal(tx: &mut Tx, mut inserts: Vec<OrderInsert>) -> Result<()> {
    let first = next_numbers(tx, inserts.len()).await?;
    let mut sales = Deltas::default();
    for (number, new) in (first..).zip(&mut inserts) {
        new.order.number = number;
        if new.order.state == SagaState::Confirmed {
            sales.add_order(&new.order);
        }
    }
    let rows: Vec<NewRow<'_>> = inserts.iter().map(|insert| NewRow { order: &insert.order, insert }).collect();
    insert_rows(tx, &rows, None).await?;
    super::sales::add(tx, sales).await
}

/// A new order with its number, and its insert.
struct NewRow<'a> {
    order: &'a Order,
    insert: &'a OrderInsert,
}

async fn insert_rows(tx: &mut Tx, new: &[NewRow<'_>], work: Option<&PendingWork>) -> Result<()> {
    let orders = new.iter().map(|NewRow { order, insert }| {
        let (payload_hash, lease) = (insert.payload_hash.as_str(), Some(&insert.lease));
        OrderRow { order, work, lease, payload_hash, refusal: None }.insert_cells()
    });
    insert("orders", &INSERT_COLUMNS, orders).execute(tx).await?;
    let lines = new.iter().flat_map(|NewRow { order, .. }| {
        (1_i64..).zip(&order.lines).map(|(position, line)| line_cells(&order.id, position, line))
    });
    insert("order_lines", LINE_COLUMNS, lines).execute(tx).await?;
    Ok(())
}
