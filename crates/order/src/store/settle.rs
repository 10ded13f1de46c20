//! Writing what became of an order, under its lease.

use std::collections::HashMap;

use bus::{Message, NewEvent};
use commerce::{OrderId, Timestamp};
use db::{Result, Tx, query};
use serde::{Deserialize, Serialize};

use super::{carts::Ended, rows::to_json};
use crate::domain::{Deltas, Order, State, Work};

/// A final answer, to be given again byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A change of an order that only the holder of its lease may write.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    /// The order as it is to be.
    pub(crate) order: Order,
    /// What is still to be done after it.
    pub(crate) work: Option<Work>,
    /// The lease under which it is written.
    pub(crate) epoch: i64,
    /// What else is written with it.
    pub(crate) change: Change,
}

/// What a settlement writes beside the order.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The end of a checkout or cancellation: its event, what those hear who know no events, and the answer for whoever repeats the request.
    Terminal { event: Box<NewEvent>, plain: Option<Message>, answer: Answer },
    /// A decision, which nobody is told of yet.
    Decision,
}

impl Change {
    /// The answer that refuses an order.
    fn refusal(&self) -> Option<&Answer> {
        match self {
            Self::Terminal { answer, .. } if answer.status >= 400 => Some(answer),
            _ => None,
        }
    }
}

/// Writes settlements, and last what they change in the summaries of sales; tells of each whether the lease was still the writer's.
pub(crate) async fn settle(tx: &mut Tx, settlements: Vec<Settlement>) -> Result<Vec<bool>> {
    let written: HashMap<(OrderId, i64), bool> = update_orders(tx, &settlements).await?;
    let mut events = Vec::new();
    let (mut plainly, mut answers) = (Vec::new(), Vec::new());
    let mut results = Vec::with_capacity(settlements.len());
    let ended = settlements.iter().filter(|s| {
        matches!(s.change, Change::Terminal { .. }) && written.contains_key(&(s.order.id.clone(), s.epoch))
    });
    let carts: Vec<Ended<'_>> = ended.filter_map(|settlement| Ended::of(&settlement.order)).collect();
    super::carts::end(tx, &carts).await?;
    let mut sales = Deltas::default();
    for settlement in settlements {
        let summed = written.get(&(settlement.order.id.clone(), settlement.epoch)).copied();
        let held = summed.is_some();
        results.push(held);
        if held && matches!(settlement.change, Change::Terminal { .. }) {
            match settlement.order.state {
                State::Confirmed => sales.order(&settlement.order, false),
                // It was counted when it was confirmed; nothing of it had come back, else it could not be cancelled.
                State::Cancelled if summed == Some(true) => sales.order(&settlement.order, true),
                _ => {}
            }
        }
        if let (true, Change::Terminal { event, plain, answer }) = (held, settlement.change) {
            events.push(*event);
            plainly.extend(plain);
            answers.push(vec![
                settlement.order.id.as_str().into(),
                i64::from(answer.status).into(),
                answer.body.into(),
            ]);
        }
    }
    if !answers.is_empty() {
        query(
            "update idempotency set status = cast(r.value->>1 as bigint), body = r.value->>2
             from {rows $1} r where target_id = r.value->>0 and route in ($2, $3, $4) and status is null",
        )
        .rows(answers)
        .bind(super::ORDERS_ROUTE)
        .bind(super::CART_CHECKOUTS_ROUTE)
        .bind(super::SALES_ROUTE)
        .execute(tx)
        .await?;
    }
    bus::outbox::append(tx, crate::NAME, events).await?;
    bus::outbox::append_plain(tx, plainly).await?;
    super::sales::add(tx, sales).await?;
    Ok(results)
}

async fn update_orders(tx: &mut Tx, settlements: &[Settlement]) -> Result<HashMap<(OrderId, i64), bool>> {
    let rows = settlements.iter().map(|s| {
        let o = &s.order;
        vec![
            o.id.as_str().into(),
            s.epoch.into(),
            o.state.as_str().into(),
            o.status.as_str().into(),
            to_json(&o.states).into(),
            o.payment.status.as_str().into(),
            o.payment.id.as_ref().map(|id| id.as_str()).into(),
            o.reason.as_deref().into(),
            o.updated_at.micros().into(),
            o.version.into(),
            o.sequence.into(),
            s.work.as_ref().map(to_json).into(),
            s.change.refusal().map(to_json).into(),
            to_json(&o.history).into(),
        ]
    });
    query(
        "update orders set
           state = r.value->>2, status = r.value->>3, states = r.value->>4, payment_status = r.value->>5,
           payment_id = r.value->>6, reason = r.value->>7, updated_at = cast(r.value->>8 as bigint),
           version = cast(r.value->>9 as bigint), sequence = cast(r.value->>10 as bigint), work = r.value->>11,
           refusal = coalesce(r.value->>12, refusal), history = r.value->>13,
           summed = case when r.value->>2 = 'CONFIRMED' then 1 else summed end
         from {rows $1} r
         where orders.id = r.value->>0 and orders.lease_epoch = cast(r.value->>1 as bigint)
           and orders.work is not null
         returning orders.id as id, orders.lease_epoch as epoch, orders.summed as summed",
    )
    .rows(rows)
    .fetch_all(tx)
    .await?
    .iter()
    .map(|row| Ok(((OrderId::trusted(row.get("id")?), row.get("epoch")?), row.get("summed")?)))
    .collect()
}

/// Writes a change by people (a status, a return, a decision to cancel), on the order as it was read.
/// False when somebody changed it meanwhile. The lease goes to the writer under a new epoch.
pub(crate) async fn change(
    tx: &mut Tx,
    order: &Order,
    work: Option<&Work>,
    read: (i64, i64),
    lease: &super::Lease,
) -> Result<bool> {
    let (version, epoch) = read;
    let changed = query(
        "update orders set state = $1, status = $2, states = $3, payment_status = $4, reason = $5, updated_at = $6,
           version = $7, sequence = $8, work = $9, lease_owner = $10, lease_epoch = $11, lease_until = $12,
           history = $16
         where id = $13 and version = $14 and lease_epoch = $15",
    )
    .bind(order.state.as_str())
    .bind(order.status.as_str())
    .bind(to_json(&order.states))
    .bind(order.payment.status.as_str())
    .bind(order.reason.as_deref())
    .bind(order.updated_at.micros())
    .bind(order.version)
    .bind(order.sequence)
    .bind(work.map(to_json))
    .bind(lease.owner.as_str())
    .bind(lease.epoch)
    .bind(lease.until.micros())
    .bind(order.id.as_str())
    .bind(version)
    .bind(epoch)
    .bind(to_json(&order.history))
    .execute(tx)
    .await?;
    if changed == 0 {
        return Ok(false);
    }
    let rows = (1_i64..)
        .zip(&order.lines)
        .map(|(position, line)| vec![order.id.as_str().into(), position.into(), line.returned.into()]);
    query(
        "update order_lines set returned = cast(r.value->>2 as bigint) from {rows $1} r
         where order_id = r.value->>0 and position = cast(r.value->>1 as bigint)
           and returned <> cast(r.value->>2 as bigint)",
    )
    .rows(rows)
    .execute(tx)
    .await?;
    Ok(true)
}

/// Writes what was amended of an order, on the order as it was read; false when somebody changed it meanwhile.
pub(crate) async fn amend(tx: &mut Tx, order: &Order, read: (i64, i64)) -> Result<bool> {
    let changed = query(
        "update orders set adjustments = $1, total = $2, metadata = $3, notes = $4, history = $5, updated_at = $6,
           version = $7, sequence = $8
         where id = $9 and version = $10 and lease_epoch = $11",
    )
    .bind(to_json(&order.adjustments))
    .bind(order.total.minor())
    .bind((!order.metadata.is_empty()).then(|| to_json(&order.metadata)))
    .bind(order.notes.as_deref())
    .bind(to_json(&order.history))
    .bind(order.updated_at.micros())
    .bind(order.version)
    .bind(order.sequence)
    .bind(order.id.as_str())
    .bind(read.0)
    .bind(read.1)
    .execute(tx)
    .await?;
    Ok(changed > 0)
}

/// Notes the final answer to the requests of a route that made `target_id`.
pub(crate) async fn put_answer(tx: &mut Tx, route: &str, target_id: &str, answer: &Answer) -> Result<()> {
    query("update idempotency set status = $1, body = $2 where target_id = $3 and route = $4 and status is null")
        .bind(i64::from(answer.status))
        .bind(answer.body.as_str())
        .bind(target_id)
        .bind(route)
        .execute(tx)
        .await?;
    Ok(())
}

/// Notes where the money of orders stands, as the payment service tells: `(order, status)`. Orders in their
/// checkout or cancellation are left to their driver, which asks itself.
pub(crate) async fn note_payment(tx: &mut Tx, statuses: Vec<(String, String)>, now: Timestamp) -> Result<u64> {
    let rows = statuses.into_iter().map(|(order, status)| vec![order.into(), status.into()]);
    query(
        "update orders set payment_status = r.value->>1, version = version + 1, updated_at = $2 from {rows $1} r
         where orders.id = r.value->>0 and payment_status <> r.value->>1 and (work is null or work = $3)",
    )
    .rows(rows)
    .bind(now.micros())
    .bind(to_json(&Work::Refund))
    .execute(tx)
    .await
}
