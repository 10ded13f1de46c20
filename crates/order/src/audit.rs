//! Facts about orders for the audit, which compares the stores of a fleet.

use std::collections::{BTreeMap, HashMap};

use bus::LastEvents;
use commerce::{Amount, Timestamp};
use db::{Db, Options};

use crate::domain::{Order, PendingWork, RefundStatus, Return, SagaState, Status};
use crate::store::{self, Lease, ReturnRow, StoredOrder};

/// What is not compared with an order's last event. Without an event change the status of its payment, notes, the client's own data,
/// whether it is archived, and what counts changes; the rest tells of the change.
const NOT_COMPARED: &[&str] =
    &["payment", "notes", "metadata", "archived", "updated_at", "version", "previous_status", "actor", "return"];

/// An order as the audit sees it.
#[derive(Debug, Clone)]
pub struct OrderFact {
    /// The order's id.
    pub id: String,
    /// The customer, if it is known.
    pub customer_id: Option<String>,
    /// The place whose stock the order uses.
    pub place_id: String,
    /// The status: pending, confirmed, processing, shipped, delivered, cancelled.
    pub status: String,
    /// Whether the order was confirmed, even if it was cancelled later.
    pub was_confirmed: bool,
    /// card, cash or on_account.
    pub payment_method: String,
    /// The status of its payment, as the order shows it; `none` before there is one.
    pub payment_status: String,
    /// The currency, as ISO 4217 code.
    pub currency: String,
    /// The total.
    pub total: Amount,
    /// The sum of its lines and adjustments, in minor units.
    pub sum: i64,
    /// Whether the order has pending work.
    pub open: bool,
    /// The end of its lease.
    pub lease_until: Timestamp,
    /// When the order was stored.
    pub created_at: Timestamp,
    /// When the order last changed.
    pub updated_at: Timestamp,
    /// The time of its last event, as far as the order itself shows it.
    pub last_published_at: Timestamp,
    /// Pieces bought, by product.
    pub goods: BTreeMap<String, i64>,
    /// Returned pieces that were put back into stock, by product.
    pub restocked: BTreeMap<String, i64>,
    /// The amount that its returns refunded.
    pub refunded: Amount,
    /// The refunds of its returns.
    pub refunds: Vec<RefundFact>,
    /// Number of pending refunds.
    pub refunds_pending: usize,
    /// Whether it was withdrawn: done, or decided only; none if it was not.
    pub withdrawn: Option<bool>,
    /// Pieces that were not returned, of all lines.
    pub kept_pieces: i64,
    /// The sequence of its last event.
    pub last_sequence: i64,
    /// The id of its payment, if it knows one.
    pub payment_id: Option<String>,
}

/// The refund of a return.
#[derive(Debug, Clone)]
pub struct RefundFact {
    /// The return's id, which is also the id of the payment's operation.
    pub return_id: String,
    /// The amount.
    pub amount: Amount,
    /// none, pending, done or refused.
    pub status: &'static str,
}

/// All facts of the store at `url`.
#[derive(Debug)]
pub struct Facts {
    /// The orders.
    pub orders: Vec<OrderFact>,
    /// Of orders and of items of carts: the highest number, and the last number that was given.
    pub numbers: [(&'static str, i64, i64); 2],
    /// The outbox.
    pub outbox: bus::outbox::OutboxDump,
    /// The last events of other services that took effect.
    pub inbox: bus::inbox::InboxDump,
    /// The orders compared with their events.
    pub comparison: bus::Comparison,
    /// What contradicts within the store, for people.
    pub contradictions: Vec<String>,
    /// The summaries of sales, compared with the orders.
    pub reports: crate::reports::SalesComparison,
}

/// Reads the facts of the store at `url`. The service may be running.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut returned = returned_goods(&mut tx).await?;
    let mut withdrawn = store::withdrawals::decided(&mut tx).await?;
    let all = store::all_orders(&mut tx).await?;
    let outbox = bus::outbox::dump(&mut tx).await?;
    let mut events = LastEvents::of(&outbox);
    let mut orders = Vec::with_capacity(all.len());
    let mut found = Vec::new();
    for stored in all {
        let order = &stored.order;
        let returns = returned.remove(order.id.as_str()).unwrap_or_default();
        // The states of a checkout are published at its end.
        if stored.work.is_none() {
            events.compare("orders", order.id.as_str(), order.sequence, order, NOT_COMPARED);
        }
        found.extend(contradictions(&stored, &returns));
        orders.push(fact(&stored, returns, withdrawn.remove(order.id.as_str())));
    }
    let no_order = |id| format!("goods of order {id} were returned, and there is no such order");
    found.extend(returned.into_keys().map(no_order));
    let stuck = |cart| format!("cart {cart} is being checked out, and its order is not");
    found.extend(store::carts::stuck(&mut tx).await?.into_iter().map(stuck));
    let comparison = events.finish();
    let reports = crate::reports::compare_in(&mut tx).await?;
    let numbers = store::numbers(&mut tx).await?;
    let inbox = bus::inbox::dump(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(Facts { orders, numbers, outbox, inbox, comparison, contradictions: found, reports })
}

fn fact(stored: &StoredOrder, returns: ReturnedGoods, withdrawn: Option<bool>) -> OrderFact {
    let order = &stored.order;
    let last_change = order.history.iter().map(|change| change.at).chain(returns.last).max();
    OrderFact {
        id: order.id.to_string(),
        customer_id: order.customer_id.as_ref().map(ToString::to_string),
        place_id: order.place_id.to_string(),
        status: order.status.as_str().into(),
        was_confirmed: order.states.iter().any(|s| s.state == SagaState::Confirmed),
        payment_method: order.payment.method.as_str().into(),
        payment_status: order.payment.status.clone(),
        currency: order.currency.to_string(),
        total: order.total,
        sum: order.lines.iter().map(|line| line.subtotal.minor()).sum::<i64>()
            + order.adjustments.iter().map(|adjustment| adjustment.amount.minor()).sum::<i64>(),
        open: stored.work.is_some() || order.status == Status::Pending,
        lease_until: stored.lease.until,
        created_at: order.created_at,
        updated_at: order.updated_at,
        last_published_at: last_change.unwrap_or(order.created_at),
        goods: order.goods().into_iter().map(|(id, n)| (id.to_string(), i64::from(n))).collect(),
        restocked: returns.goods,
        refunded: returns.refunded,
        refunds: returns.refunds,
        refunds_pending: returns.pending + usize::from(matches!(stored.work, Some(PendingWork::Cancel { .. }))),
        withdrawn,
        kept_pieces: order.lines.iter().map(|line| i64::from(line.quantity.get()) - i64::from(line.returned)).sum(),
        last_sequence: order.sequence,
        payment_id: order.payment.id.as_ref().map(ToString::to_string),
    }
}

/// What of an order contradicts the rest of it.
fn contradictions(stored: &StoredOrder, returns: &ReturnedGoods) -> Vec<String> {
    let Order { id, state, status, lines, .. } = &stored.order;
    let mut found = returns.contradictions.clone();
    if returns.pending > 0 && stored.work.is_none() {
        found.push(format!("order {id}: a refund is pending, and nothing is left to do"));
    }
    let last_state = stored.order.states.last().map(|last| last.state);
    if last_state.is_some_and(|last| last != *state) {
        found.push(format!("order {id} is {}, the last of its states is {last_state:?}", state.as_str()));
    }
    let last_status = stored.order.history.last().map(|last| last.status);
    if last_status.is_some_and(|last| last != *status) {
        found.push(format!("order {id} is {}, the last of its history is {last_status:?}", status.as_str()));
    }
    for line in lines {
        let returned = returns.pieces.get(line.line_id.as_str()).copied().unwrap_or(0);
        if returned != line.returned {
            let (line, pieces) = (&line.line_id, line.returned);
            found.push(format!("order {id}: {pieces} pieces of line {line} are returned, its returns have {returned}"));
        }
    }
    found
}

#[derive(Debug, Default)]
struct ReturnedGoods {
    goods: BTreeMap<String, i64>,
    /// Returned pieces by line.
    pieces: BTreeMap<String, u32>,
    refunded: Amount,
    refunds: Vec<RefundFact>,
    pending: usize,
    /// When the last return was created.
    last: Option<Timestamp>,
    contradictions: Vec<String>,
}

async fn returned_goods(tx: &mut db::Tx) -> anyhow::Result<HashMap<String, ReturnedGoods>> {
    let mut all: HashMap<String, ReturnedGoods> = HashMap::new();
    for (made, row) in store::all_returns(tx).await? {
        let Return { id, order_id, refund, .. } = &made;
        let refund_status = refund.status.as_str();
        let (id, order_id, status) = (id.to_string(), order_id.to_string(), refund_status.to_owned());
        let body = ReturnRow { id: id.clone(), order_id, amount: refund.amount, status };
        let entry = all.entry(row.order_id.clone()).or_default();
        if row != body {
            entry.contradictions.push(format!("return {id} has {row:?}, its body says {body:?}"));
        }
        entry.refunds.push(RefundFact { return_id: id, amount: refund.amount, status: refund_status });
        entry.last = entry.last.max(Some(made.created_at));
        for line in &made.lines {
            *entry.pieces.entry(line.line_id.to_string()).or_default() += line.quantity.get();
        }
        if made.restock {
            for line in &made.lines {
                if let Some(product) = &line.product_id {
                    *entry.goods.entry(product.to_string()).or_default() += i64::from(line.quantity.get());
                }
            }
        }
        match made.refund.status {
            RefundStatus::Done => {
                entry.refunded = entry.refunded.checked_add(made.refund.amount).unwrap_or(entry.refunded);
            }
            RefundStatus::Pending => entry.pending += 1,
            RefundStatus::None | RefundStatus::Refused => {}
        }
    }
    Ok(all)
}

/// What the store at `url` knows of one order, with the times; empty if it does not know it.
pub async fn history(url: &str, id: &str) -> anyhow::Result<Vec<(Timestamp, String)>> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut history = Vec::new();
    if let Some(stored) = store::find(&mut tx, id).await? {
        let order = &stored.order;
        let (number, total, currency) = (order.number, order.total, order.currency);
        let customer = order.customer_id.as_ref().map_or("nobody known", |id| id.as_str());
        let method = order.payment.method.as_str();
        history.push((
            order.created_at,
            format!("order {number} of {customer} at {} stored: {total} {currency} by {method}", order.place_id),
        ));
        history.extend(order.states.iter().map(|state| (state.at, format!("state {}", state.state.as_str()))));
        history.extend(order.history.iter().map(|change| {
            let actor = change.actor.as_deref().unwrap_or("the checkout");
            let reason = change.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (change.at, format!("status {} by {actor}{reason}", change.status.as_str()))
        }));
        for made in store::returns_of(&mut tx, &order.id).await? {
            let (pieces, refund) = (made.lines.iter().map(|line| line.quantity.get()).sum::<u32>(), &made.refund);
            let text =
                format!("return {} of {pieces} pieces, refund of {} {:?}", made.id, refund.amount, refund.status);
            history.push((made.created_at, text));
        }
        if let Some(work) = &stored.work {
            let Lease { owner, epoch, until } = &stored.lease;
            history.push((order.updated_at, format!("to be done: {work:?}, by {owner} (epoch {epoch}) until {until}")));
        }
    }
    history.extend(store::withdrawals::history(&mut tx, id).await?);
    history.extend(bus::outbox::history(&mut tx, "orders", id).await?);
    history.extend(bus::inbox::last_effect(&mut tx, "payments", id).await?);
    drop(tx);
    db.close().await;
    Ok(history)
}
