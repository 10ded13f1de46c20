//! What may be amended of an order after it was placed: adjustments of its total, what clients keep with it, its notes.

use std::collections::BTreeMap;

use chassis::{Kind, Problem};
use commerce::{Amount, Timestamp};

use crate::{
    checkout::Checkout,
    domain::{Adjustment, Deltas, Order, PaymentMethod, Status},
    error::Error,
    events, store,
};

/// What is to be amended; what is not said stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Amendment {
    /// All adjustments of the total from now on.
    pub(crate) adjustments: Option<Vec<Adjustment>>,
    /// Entries to be set, or taken away where there is no text.
    pub(crate) metadata: BTreeMap<String, Option<String>>,
    /// Text, or none from now on.
    pub(crate) notes: Option<Option<String>>,
}

impl Checkout {
    /// Amends an order as the caller read it. 409: the total is no longer to be changed, or others changed the order
    /// meanwhile; 422: the total would be below 0.
    pub(crate) async fn amend(&self, read: Order, amendment: Amendment, actor: &str) -> Result<Order, Error> {
        let mut tx = self.db.write().await?;
        let held = store::get_locked(&mut tx, &read.id).await?;
        if held.order.version != read.version || held.work.is_some() {
            return Err(Problem::new(Kind::Conflict, "The order is being changed by others; read it again.").into());
        }
        let before = held.order.clone();
        let mut order = held.order;
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
        let told = order.total != before.total;
        order.version += 1;
        order.updated_at = now;
        if told {
            order.sequence += 1;
        }
        if !store::amend(&mut tx, &order, (before.version, held.lease.epoch)).await? {
            return Err(Problem::new(Kind::Conflict, "The order was changed meanwhile; read it again.").into());
        }
        if told {
            let event = events::amended(&order, actor);
            bus::outbox::append(&mut tx, crate::NAME, vec![event]).await?;
        }
        if held.summed {
            let mut sales = Deltas::default();
            sales.order(&before, true);
            sales.order(&order, false);
            store::sales::add(&mut tx, sales).await?;
        }
        tx.commit().await?;
        self.relay.wake();
        Ok(order)
    }
}

/// Puts other adjustments on an order that nobody was charged for.
fn adjust(order: &mut Order, adjustments: Vec<Adjustment>, now: Timestamp, actor: &str) -> Result<(), Problem> {
    if adjustments == order.adjustments {
        return Ok(());
    }
    let conflict = |why: &str| Err(Problem::new(Kind::Conflict, why));
    if order.payment.method != PaymentMethod::OnAccount {
        return conflict("Only the total of an order on account may be changed; use refunds for money that was taken.");
    }
    if order.status == Status::Cancelled || order.has_returns() {
        return conflict("The total of an order that is cancelled, or of which something came back, stays as it is.");
    }
    let amounts = order.lines.iter().map(|line| line.subtotal).chain(adjustments.iter().map(|a| a.amount));
    let Some(total) = Amount::sum(amounts).filter(|total| !total.is_negative()) else {
        return Err(Problem::invalid("adjustments", "total", "the total must be from 0"));
    };
    let reason = format!("total changed from {} to {total}", order.total);
    order.move_to(order.status, now, Some(actor.to_owned()), Some(reason));
    order.adjustments = adjustments;
    order.total = total;
    Ok(())
}
