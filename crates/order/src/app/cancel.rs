//! Cancelling an order: the decision is stored first, then the saga undoes what was done.

use chassis::{Kind, Problem};
use commerce::OrderId;

use super::{App, require_written, saga_driver};
use crate::{
    domain::{Order, PendingWork, Status, Undo, saga::CancelReason},
    error::Error,
    store,
};

/// The result of a cancellation request.
pub(crate) enum Cancellation {
    /// The order was cancelled before.
    Already(Box<Order>),
    /// The decision is stored; the saga undoes the order.
    Decided,
}

/// Stores the decision to cancel an order and starts to undo it. 409 when the order can no longer be cancelled.
pub(crate) async fn cancel(
    app: &App,
    id: &OrderId,
    actor: &str,
    reason: Option<String>,
) -> Result<Cancellation, Error> {
    let mut tx = app.db.write().await?;
    let stored = store::get_locked(&mut tx, id).await?;
    if stored.order.status == Status::Cancelled {
        return Ok(Cancellation::Already(Box::new(stored.order)));
    }
    if matches!(stored.work, Some(PendingWork::Cancel { .. })) {
        return Ok(Cancellation::Decided);
    }
    check_cancellable(&stored.order)?;
    let work = PendingWork::Cancel {
        undo: undo(&stored.order),
        reason: CancelReason::Other(reason.unwrap_or_else(|| "cancelled on request".into())),
        actor: Some(actor.to_owned()),
    };
    // The new epoch takes the order from a running checkout, whose later writes change nothing. Tombstones refuse the
    // calls that the checkout has sent and that arrive late.
    let lease = app.new_lease(stored.lease.epoch + 1);
    require_written(store::update(&mut tx, &stored.order, Some(&work), stored.read_version(), &lease).await?)?;
    app.ctx.crash.reach("order.decide.before");
    tx.commit().await?;
    app.ctx.crash.reach("order.decide.after");
    saga_driver::resume(app, stored.order, lease.epoch, &work);
    Ok(Cancellation::Decided)
}

fn check_cancellable(order: &Order) -> Result<(), Problem> {
    if order.has_returns() {
        let returned = "An order with returned goods cannot be cancelled; return the rest instead.";
        return Err(Problem::new(Kind::Conflict, returned).with_code("order.not_cancellable"));
    }
    if !order.status.may_cancel() {
        let detail = format!("An order that is {} cannot be cancelled; use returns.", order.status.as_str());
        return Err(Problem::new(Kind::Conflict, detail).with_code("order.not_cancellable"));
    }
    Ok(())
}

/// The stock of a confirmed order follows the cancellation event. During a checkout it is unknown whether the stock is
/// reserved, so it is released in any case.
fn undo(order: &Order) -> Undo {
    Undo { release: order.status == Status::Pending && !order.goods().is_empty(), void: order.is_charged() }
}
