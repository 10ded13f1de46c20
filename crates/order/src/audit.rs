//! Facts about orders for the audit, which compares the stores of a fleet.

use std::collections::{BTreeMap, HashMap};

use commerce::{Amount, Timestamp};
use db::{Db, Options};

use crate::domain::{PendingWork, RefundStatus, Status};
use crate::store::{self, Lease};

/// An order as the audit sees it.
#[derive(Debug, Clone)]
pub struct OrderFact {
    /// The order's id.
    pub id: String,
    /// The place whose stock the order uses.
    pub place_id: String,
    /// The status: pending, confirmed, processing, shipped, delivered, cancelled.
    pub status: String,
    /// Whether the order was confirmed, even if it was cancelled later.
    pub was_confirmed: bool,
    /// card, cash or on_account.
    pub payment_method: String,
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
    /// Number of pending refunds.
    pub refunds_pending: usize,
    /// Whether it was withdrawn: done, or decided only; none if it was not.
    pub withdrawn: Option<bool>,
    /// Pieces that were not returned, of all lines.
    pub kept_pieces: i64,
    /// The sequence of its last event.
    pub last_sequence: i64,
}

/// All facts of the store at `url`.
#[derive(Debug)]
pub struct Facts {
    /// The orders.
    pub orders: Vec<OrderFact>,
    /// The highest number of an order, and the last number that was given.
    pub numbers: (i64, i64),
    /// The outbox.
    pub outbox: bus::outbox::OutboxDump,
    /// The summaries of sales, compared with the orders.
    pub reports: crate::reports::SalesComparison,
}

/// Reads the facts of the store at `url`. The service may be running.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut restocked = returned_goods(&mut tx).await?;
    let mut withdrawn = store::withdrawals::decided(&mut tx).await?;
    let all = store::all_orders(&mut tx).await?;
    let mut orders = Vec::with_capacity(all.len());
    for stored in all {
        let order = &stored.order;
        let returns = restocked.remove(order.id.as_str()).unwrap_or_default();
        orders.push(OrderFact {
            id: order.id.to_string(),
            place_id: order.place_id.to_string(),
            status: order.status.as_str().into(),
            was_confirmed: order.states.iter().any(|s| s.state == crate::domain::SagaState::Confirmed),
            payment_method: order.payment.method.as_str().into(),
            total: order.total,
            sum: order.lines.iter().map(|line| line.subtotal.minor()).sum::<i64>()
                + order.adjustments.iter().map(|adjustment| adjustment.amount.minor()).sum::<i64>(),
            open: stored.work.is_some() || order.status == Status::Pending,
            lease_until: stored.lease.until,
            created_at: order.created_at,
            updated_at: order.updated_at,
            last_published_at: order
                .history
                .iter()
                .map(|change| change.at)
                .chain(returns.last)
                .max()
                .unwrap_or(order.created_at),
            goods: order.goods().into_iter().map(|(id, n)| (id.to_string(), i64::from(n))).collect(),
            restocked: returns.goods,
            refunded: returns.refunded,
            refunds_pending: returns.pending + usize::from(matches!(stored.work, Some(PendingWork::Cancel { .. }))),
            withdrawn: withdrawn.remove(order.id.as_str()),
            kept_pieces: order.lines.iter().map(|line| i64::from(line.quantity.get()) - i64::from(line.returned)).sum(),
            last_sequence: order.sequence,
        });
    }
    let outbox = bus::outbox::dump(&mut tx).await?;
    let reports = crate::reports::compare_in(&mut tx).await?;
    let numbers = store::numbers(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(Facts { orders, numbers, outbox, reports })
}

#[derive(Debug, Default)]
struct ReturnedGoods {
    goods: BTreeMap<String, i64>,
    refunded: Amount,
    pending: usize,
    /// When the last return was created.
    last: Option<Timestamp>,
}

async fn returned_goods(tx: &mut db::Tx) -> anyhow::Result<HashMap<String, ReturnedGoods>> {
    let mut all: HashMap<String, ReturnedGoods> = HashMap::new();
    for made in store::all_returns(tx).await? {
        let entry = all.entry(made.order_id.to_string()).or_default();
        entry.last = entry.last.max(Some(made.created_at));
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
