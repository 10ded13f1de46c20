//! Amendments of a placed order: adjustments of its total, metadata, notes.

use std::collections::BTreeMap;

use chassis::{Kind, Problem};
use commerce::{Amount, Timestamp};

use super::{App, require_written};
use crate::{
    domain::{Adjustment, Deltas, Order, PaymentMethod, Status},
    error::Error,
    events, store,
};

/// What to amend; a missing field stays as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Amendment {
    /// Replaces all adjustments of the total.
    pub(crate) adjustments: Option<Vec<Adjustment>>,
    /// Entries to set; `None` removes an entry.
    pub(crate) metadata: BTreeMap<String, Option<String>>,
    /// New notes; `Some(None)` removes them.
    pub(crate) notes: Option<Option<String>>,
}

/// Amends an order from the version that the caller has read. 409 when the total is final, or the order was changed
/// meanwhile; 422 when the total would be negative.
pub(crate) async fn amend(app: &App, read: &Order, amendment: Amendment, actor: &str) -> Result<Order, Error> {
    let mut tx = app.db.write().await?;
    let stored = store::get_locked(&mut tx, &read.id).await?;
    if stored.order.version != read.version || stored.work.is_some() {
        let changed = Problem::new(Kind::Conflict, "The order is being changed by others; read it again.");
        return Err(changed.with_code("order.changed").into());
    }
    let read_version = stored.read_version();
    let before = stored.order.clone();
    let mut order = stored.order;
    let now = Timestamp::now();
    if let Some(adjustments) = amendment.adjustments {
        adjust(&mut order, adjustments, now, actor)?;
    }
    for (name, value) in amendment.metadata {
        match value {
            Some(value) => order.metadata.insert(name, value),
            None => order.metadata.remove(&name),
        };
    }
    if let Some(notes) = amendment.notes {
        order.notes = notes;
    }
    if order == before {
        return Ok(order);
    }
    let adjusted = order.adjustments != before.adjustments;
    order.version += 1;
    order.updated_at = now;
    if adjusted {
        order.sequence += 1;
    }
    require_written(store::amend(&mut tx, &order, read_version).await?)?;
    if adjusted {
        let event = events::amended(&order, actor);
        bus::outbox::append(&mut tx, crate::NAME, vec![event]).await?;
    }
    if stored.summed {
        let mut sales = Deltas::default();
        sales.subtract_order(&before);
        sales.add_order(&order);
        store::sales::add(&mut tx, sales).await?;
    }
    tx.commit().await?;
    app.relay.wake();
    Ok(order)
}

/// Replaces the adjustments of an order for which nothing was charged.
fn adjust(order: &mut Order, adjustments: Vec<Adjustment>, now: Timestamp, actor: &str) -> Result<(), Problem> {
    if adjustments == order.adjustments {
        return Ok(());
    }
    let conflict = |why: &str| Err(Problem::new(Kind::Conflict, why).with_code("order.total_final"));
    if order.payment.method != PaymentMethod::OnAccount {
        return conflict("Only the total of an order on account can be changed; refund a captured payment instead.");
    }
    if order.status == Status::Cancelled || order.has_returns() {
        return conflict("The total of an order that is cancelled or has returned goods cannot be changed.");
    }
    let amounts = order.lines.iter().map(|line| line.subtotal).chain(adjustments.iter().map(|a| a.amount));
    let Some(total) = Amount::sum(amounts).filter(|total| !total.is_negative()) else {
        return Err(Problem::invalid("adjustments", "total", "the total must be 0 or more"));
    };
    let reason = format!("total changed from {} to {total}", order.total);
    order.set_status(order.status, now, Some(actor.to_owned()), Some(reason));
    order.adjustments = adjustments;
    order.total = total;
    Ok(())
}
