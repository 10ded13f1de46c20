//! Plain facts about orders, for an auditor who knows no schema.

use std::collections::BTreeMap;

use commerce::{Amount, Timestamp};
use db::{Db, Options};

use crate::domain::{RefundStatus, Status, Work};
use crate::store;

/// What is to be known of an order.
#[derive(Debug, Clone)]
pub struct OrderFact {
    /// The order.
    pub id: String,
    /// Whose stock it takes.
    pub place_id: String,
    /// Where people have moved it: pending, confirmed, processing, shipped, delivered, cancelled.
    pub status: String,
    /// Whether the saga confirmed it at some time.
    pub was_confirmed: bool,
    /// card, cash or on_account.
    pub payment_method: String,
    /// What is to be captured.
    pub total: Amount,
    /// Whether something is still to be done for it.
    pub open: bool,
    /// Until when somebody drives it.
    pub lease_until: Timestamp,
    /// When it was taken.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its last event was made, as far as the order itself shows.
    pub told_at: Timestamp,
    /// Pieces bought, by product.
    pub goods: BTreeMap<String, i64>,
    /// Pieces that came back to be put on the shelf, by product.
    pub restocked: BTreeMap<String, i64>,
    /// What its returns gave back.
    pub refunded: Amount,
    /// Refunds that are decided and not done.
    pub refunds_pending: usize,
    /// Events told so far.
    pub last_sequence: i64,
}

/// All facts of the store at `url`.
#[derive(Debug)]
pub struct Facts {
    /// The orders.
    pub orders: Vec<OrderFact>,
    /// What was written to be published.
    pub outbox: bus::outbox::Telling,
    /// The summaries of sales beside the orders.
    pub reports: crate::reports::Compared,
}

/// Reads the facts of a store, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut restocked = returned_goods(&mut tx).await?;
    let held = store::everything(&mut tx).await?;
    let mut orders = Vec::with_capacity(held.len());
    for held in held {
        let order = &held.order;
        let returns = restocked.remove(order.id.as_str()).unwrap_or_default();
        orders.push(OrderFact {
            id: order.id.to_string(),
            place_id: order.place_id.to_string(),
            status: order.status.as_str().into(),
            was_confirmed: order.states.iter().any(|s| s.state == crate::domain::State::Confirmed),
            payment_method: order.payment.method.as_str().into(),
            total: order.total,
            open: held.work.is_some() || order.status == Status::Pending,
            lease_until: held.lease.until,
            created_at: order.created_at,
            updated_at: order.updated_at,
            told_at: order.history.iter().map(|moved| moved.at).chain(returns.last).max().unwrap_or(order.created_at),
            goods: order.goods().into_iter().map(|(id, n)| (id.to_string(), i64::from(n))).collect(),
            restocked: returns.goods,
            refunded: returns.refunded,
            refunds_pending: returns.pending + usize::from(matches!(held.work, Some(Work::Cancel { .. }))),
            last_sequence: order.sequence,
        });
    }
    let outbox = bus::outbox::telling(&mut tx).await?;
    let reports = crate::reports::compare_in(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(Facts { orders, outbox, reports })
}

#[derive(Debug, Default)]
struct ReturnedGoods {
    goods: BTreeMap<String, i64>,
    refunded: Amount,
    pending: usize,
    /// When something last came back.
    last: Option<Timestamp>,
}

async fn returned_goods(tx: &mut db::Tx) -> anyhow::Result<std::collections::HashMap<String, ReturnedGoods>> {
    let mut all: std::collections::HashMap<String, ReturnedGoods> = std::collections::HashMap::new();
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
