//! Cancelling: decided durably first, then undone.

use chassis::{Kind, Problem};
use commerce::OrderId;

use crate::{
    checkout::Checkout,
    domain::{Order, Status, Undo, Work, saga::Refusal},
    error::Error,
    store::{self, Held},
};

/// How often a decision is tried against others who change the order at the same time.
const TRIES: u32 = 20;

/// What became of the wish to cancel.
pub(crate) enum Cancelled {
    /// It is cancelled already.
    Already(Box<Order>),
    /// It is decided, and being undone.
    Decided,
}

impl Checkout {
    /// Decides to cancel an order and starts undoing it.
    pub(crate) async fn cancel(&self, id: &OrderId, actor: &str, reason: Option<String>) -> Result<Cancelled, Error> {
        let reason = reason.unwrap_or_else(|| "cancelled on request".into());
        for _ in 0..TRIES {
            let mut tx = self.db.write().await?;
            let held = store::get_locked(&mut tx, id).await?;
            if held.order.status == Status::Cancelled {
                return Ok(Cancelled::Already(Box::new(held.order)));
            }
            if matches!(held.work, Some(Work::Cancel { .. })) {
                return Ok(Cancelled::Decided);
            }
            refuse_late(&held)?;
            let work = Work::Cancel {
                undo: undo(&held),
                refusal: Refusal::Other(reason.clone()),
                actor: Some(actor.to_owned()),
            };
            let lease = self.lease(held.lease.epoch + 1);
            let read = (held.order.version, held.lease.epoch);
            // The new epoch takes the order from a checkout that is under way: that writes nothing any
            // more, and what it has asked for and not yet got is refused by tombstones.
            if store::change(&mut tx, &held.order, Some(&work), read, &lease).await? {
                self.ctx.crash.reach("order.decide.before");
                tx.commit().await?;
                self.ctx.crash.reach("order.decide.after");
                self.go_on(held.order, lease.epoch, &work);
                return Ok(Cancelled::Decided);
            }
        }
        Err(Problem::new(Kind::Conflict, "The order is being changed by others; try again.").into())
    }
}

fn refuse_late(held: &Held) -> Result<(), Problem> {
    let order = &held.order;
    if order.has_returns() {
        return Err(Problem::new(
            Kind::Conflict,
            "Something of the order came back already, so it cannot be cancelled; use returns for the rest.",
        ));
    }
    if !order.status.may_cancel() {
        return Err(Problem::new(
            Kind::Conflict,
            format!("An order that is {} cannot be cancelled; use returns.", order.status.as_str()),
        ));
    }
    Ok(())
}

/// Of a confirmed order the stock follows the event; of one in its checkout, nobody knows what is held.
fn undo(held: &Held) -> Undo {
    Undo {
        release: held.order.status == Status::Pending && !held.order.goods().is_empty(),
        void: held.order.is_charged(),
    }
}
