//! Updates of orders: by sagas, under their leases, and by requests, at the version that was read.

use std::collections::HashMap;

use bus::{Message, NewEvent};
use commerce::{OrderId, Timestamp};
use db::{Result, Tx, query};

use super::{
    Lease, StoredResponse,
    carts::{FinishedCheckout, finish_checkouts},
    idempotency_keys::put_order_responses,
    order_row::{OrderRow, cell_sql, to_json},
};
use crate::domain::{Deltas, Order, PendingWork, SagaState};

/// An update of an order by its saga. Only the holder of the lease can write it.
#[derive(Debug, Clone)]
pub(crate) struct OrderUpdate {
    /// The order after the update.
    pub(crate) order: Order,
    /// The pending work after the update.
    pub(crate) work: Option<PendingWork>,
    /// The epoch of the writer's lease.
    pub(crate) epoch: i64,
    pub(crate) kind: UpdateKind,
}

/// What an update writes besides the order.
#[derive(Debug, Clone)]
pub(crate) enum UpdateKind {
    /// The end of a checkout or cancellation: its event, its plain message, and the response to the request.
    Terminal { event: Box<NewEvent>, message: Option<Message>, response: StoredResponse },
    /// The decision to cancel, which has no event.
    Decision,
}

impl UpdateKind {
    /// The response that refuses the order, if it does.
    fn refusal(&self) -> Option<&StoredResponse> {
        match self {
            Self::Terminal { response, .. } if response.status >= 400 => Some(response),
            _ => None,
        }
    }
}

/// The version and lease epoch of an order as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadVersion {
    pub(crate) version: i64,
    pub(crate) epoch: i64,
}

/// Writes updates, and their sales last. Returns for each whether its lease was valid; an update under a lost lease changes
/// nothing.
pub(crate) async fn apply_updates(tx: &mut Tx, updates: &[&OrderUpdate]) -> Result<Vec<bool>> {
    let written: HashMap<(OrderId, i64), bool> = update_orders(tx, updates).await?;
    let mut events = Vec::new();
    let (mut messages, mut responses) = (Vec::new(), Vec::new());
    let mut results = Vec::with_capacity(updates.len());
    let terminal = updates.iter().filter(|update| {
        matches!(update.kind, UpdateKind::Terminal { .. })
            && written.contains_key(&(update.order.id.clone(), update.epoch))
    });
    let finished: Vec<FinishedCheckout<'_>> =
        terminal.filter_map(|update| FinishedCheckout::of(&update.order)).collect();
    finish_checkouts(tx, &finished).await?;
    let mut sales = Deltas::default();
    for update in updates {
        let summed = written.get(&(update.order.id.clone(), update.epoch)).copied();
        results.push(summed.is_some());
        let (Some(summed), UpdateKind::Terminal { event, message, response }) = (summed, &update.kind) else {
            continue;
        };
        match update.order.state {
            SagaState::Confirmed => sales.add_order(&update.order),
            // It was added when it was confirmed, and has no returns: with returns it could not be cancelled.
            SagaState::Cancelled if summed => sales.subtract_order(&update.order),
            _ => {}
        }
        events.push(event.as_ref().clone());
        messages.extend(message.clone());
        responses.push(vec![
            update.order.id.as_str().into(),
            i64::from(response.status).into(),
            response.body.as_str().into(),
        ]);
    }
    put_order_responses(tx, responses).await?;
    bus::outbox::append(tx, crate::NAME, events).await?;
    bus::outbox::append_plain(tx, messages).await?;
    super::sales::add(tx, sales).await?;
    Ok(results)
}

/// The columns that a saga's update writes.
const SAGA_COLUMNS: &[&str] = &[
    "state",
    "status",
    "states",
    "payment_status",
    "payment_id",
    "reason",
    "updated_at",
    "version",
    "sequence",
    "work",
    "refusal",
    "history",
];

/// Updates the orders whose leases are valid. Returns for each of them whether the summaries of sales contain it.
async fn update_orders(tx: &mut Tx, updates: &[&OrderUpdate]) -> Result<HashMap<(OrderId, i64), bool>> {
    let rows = updates.iter().map(|update| {
        let row = OrderRow { refusal: update.kind.refusal(), ..OrderRow::update(&update.order, update.work.as_ref()) };
        let mut cells = vec![update.order.id.as_str().into(), update.epoch.into()];
        cells.extend(row.cells(SAGA_COLUMNS));
        cells
    });
    let assignments: Vec<String> = (2..)
        .zip(SAGA_COLUMNS)
        .map(|(index, name)| match (*name, cell_sql(name, index)) {
            // A response that is stored stays.
            ("refusal", cell) => format!("refusal = coalesce({cell}, refusal)"),
            // A refund by hand may have been heard of after the saga had its answer.
            ("payment_status", cell) => format!(
                "payment_status = case when payment_status in ('partly_refunded', 'refunded', 'voided')
                   and {cell} in ('authorised', 'captured', 'in_doubt') or payment_status = 'refunded'
                   and {cell} = 'partly_refunded' then payment_status else {cell} end"
            ),
            (name, cell) => format!("{name} = {cell}"),
        })
        .collect();
    let text = format!(
        "update orders set {}, summed = case when r.value->>2 = 'CONFIRMED' then 1 else summed end
         from {{rows $1}} r
         where orders.id = r.value->>0 and orders.lease_epoch = cast(r.value->>1 as bigint)
           and orders.work is not null
         returning orders.id as id, orders.lease_epoch as epoch, orders.summed as summed",
        assignments.join(", ")
    );
    query(text)
        .rows(rows)
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok(((OrderId::trusted(row.get("id")?), row.get("epoch")?), row.get("summed")?)))
        .collect()
}

/// Writes a change by a request (status, return, decision to cancel) to an order as it was read; the lease goes to the
/// writer. False when the order is no longer as it was read, and nothing is written.
pub(crate) async fn update(
    tx: &mut Tx,
    order: &Order,
    work: Option<&PendingWork>,
    read: ReadVersion,
    lease: &Lease,
) -> Result<bool> {
    const COLUMNS: &[&str] = &[
        "state",
        "status",
        "states",
        "payment_status",
        "reason",
        "updated_at",
        "version",
        "sequence",
        "work",
        "lease_owner",
        "lease_epoch",
        "lease_until",
        "history",
    ];
    let row = OrderRow { lease: Some(lease), ..OrderRow::update(order, work) };
    if !update_as_read(tx, &row, COLUMNS, read).await? {
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

/// Writes an amendment to an order as it was read. False when the order is no longer as it was read, and nothing is written.
pub(crate) async fn amend(tx: &mut Tx, order: &Order, read: ReadVersion) -> Result<bool> {
    const COLUMNS: &[&str] =
        &["adjustments", "total", "metadata", "notes", "history", "updated_at", "version", "sequence"];
    update_as_read(tx, &OrderRow::update(order, None), COLUMNS, read).await
}

/// Writes these columns of an order, unless its version or epoch has changed.
async fn update_as_read(tx: &mut Tx, row: &OrderRow<'_>, columns: &[&str], read: ReadVersion) -> Result<bool> {
    let assignments: Vec<String> = (1..).zip(columns).map(|(index, name)| format!("{name} = ${index}")).collect();
    let count = columns.len();
    let text = format!(
        "update orders set {} where id = ${} and version = ${} and lease_epoch = ${}",
        assignments.join(", "),
        count + 1,
        count + 2,
        count + 3
    );
    let changed = row
        .cells(columns)
        .into_iter()
        .fold(query(text), db::Query::bind)
        .bind(row.order.id.as_str())
        .bind(read.version)
        .bind(read.epoch)
        .execute(tx)
        .await?;
    Ok(changed > 0)
}

/// Stores the payment status of orders: `(order id, status)`. A saga writes orders in their checkout or cancellation without reading them
/// again, so their version stays.
pub(crate) async fn set_payment_status(tx: &mut Tx, statuses: Vec<(String, String)>, now: Timestamp) -> Result<u64> {
    let rows = statuses.into_iter().map(|(order, status)| vec![order.into(), status.into()]);
    query(
        "update orders set payment_status = r.value->>1, updated_at = $2,
           version = case when work is null or work = $3 then version + 1 else version end
         from {rows $1} r where orders.id = r.value->>0 and payment_status <> r.value->>1",
    )
    .rows(rows)
    .bind(now.micros())
    .bind(to_json(&PendingWork::Refund))
    .execute(tx)
    .await
}

/// Hides an order; its row stays.
pub(crate) async fn archive(tx: &mut Tx, id: &OrderId) -> Result<()> {
    query("update orders set archived = 1 where id = $1").bind(id.as_str()).execute(tx).await?;
    Ok(())
}
