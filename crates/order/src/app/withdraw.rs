//! Withdrawing an order that its client gave up, whatever became of it, and acknowledging one that its client knows of.
//!
//! A client without idempotency keys sends an order again after an error, so the first one must not stand. The decision is stored first
//! and may come before the order, which it then refuses. An order may also be placed with a deadline: unless it is acknowledged by
//! then, it is withdrawn, so that it does not stand if whoever placed it for the client has died.

use std::time::Duration;

use chassis::{Kind, Problem};
use commerce::{OrderId, Quantity, ReturnId, Timestamp, compound_key};

use super::{
    App,
    cancel::cancel,
    returns::{ReturnRequest, create_return},
};
use crate::{
    domain::{Order, ReturnDraft, Status},
    error::Error,
    store,
};

/// The latest deadline of an acknowledgement, from now.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);
/// Pause between two searches for orders that are due.
const INTERVAL: Duration = Duration::from_secs(1);
/// When a withdrawal that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Orders withdrawn in one round.
const PER_ROUND: i64 = 100;
/// The code of the problem of an order that was withdrawn.
pub(crate) const CODE: &str = "order.withdrawn";
/// The prefix of the ids of returns of withdrawn orders.
pub(crate) const RETURN_PREFIX: &str = "withdrawal:";
const REASON: &str = "its client did not get to know of it";

/// Decides that an order is withdrawn, and undoes it if it exists. What cannot be undone now is undone later.
pub(crate) async fn withdraw(app: &App, id: &OrderId, actor: &str) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    store::withdrawals::decide(&mut tx, id, actor, app.store_time()).await?;
    tx.commit().await?;
    if let Err(error) = undo(app, id, actor).await {
        tracing::warn!(order.id = %id, error = &error as &dyn std::error::Error, "an order is withdrawn later");
    }
    Ok(())
}

/// Keeps an order that was placed with a deadline. 409 if it was withdrawn, 404 if it does not exist.
pub(crate) async fn acknowledge(app: &App, id: &OrderId) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    if !store::withdrawals::acknowledge(&mut tx, id).await? {
        return Err(withdrawn().into());
    }
    if store::find(&mut tx, id.as_str()).await?.is_none() {
        return Err(Problem::not_found("order").into());
    }
    tx.commit().await?;
    Ok(())
}

/// The problem of an order that was withdrawn.
pub(crate) fn withdrawn() -> Problem {
    Problem::new(Kind::Conflict, "The order was withdrawn; place another one.").with_code(CODE)
}

/// Withdraws the orders that are due until the process stops.
pub(crate) async fn run(app: App) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = app.ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let round = withdraw_due(&app).await;
        if let (Err(error), false) = (&round, failing) {
            tracing::warn!(error = error as &dyn std::error::Error, "orders cannot be withdrawn; retrying");
        }
        failing = round.is_err();
    }
}

/// One round. An order that cannot be withdrawn does not stop the others. Returns the first failure.
async fn withdraw_due(app: &App) -> Result<(), Error> {
    let now = app.store_time();
    let mut tx = app.db.read().await?;
    let due = store::withdrawals::due(&mut tx, now..=now.latest_deadline(LONGEST), PER_ROUND).await?;
    drop(tx);
    let mut first = Ok(());
    for (id, actor) in due {
        let actor = actor.as_deref().unwrap_or(crate::NAME);
        let one = withdraw_one(app, &id, actor, now).await;
        if one.is_err() {
            let mut tx = app.db.write().await?;
            store::withdrawals::postpone(&mut tx, &id, now.plus(RETRY_AFTER)).await?;
            tx.commit().await?;
        }
        first = first.and(one);
    }
    first
}

async fn withdraw_one(app: &App, id: &OrderId, actor: &str, now: Timestamp) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    // An acknowledgement may have come meanwhile; then there is nothing to decide.
    if !store::withdrawals::is_open(&mut tx, id).await? {
        return Ok(());
    }
    store::withdrawals::decide(&mut tx, id, actor, now).await?;
    tx.commit().await?;
    undo(app, id, actor).await
}

/// Cancels the order, or returns all goods of one that was shipped.
async fn undo(app: &App, id: &OrderId, actor: &str) -> Result<(), Error> {
    let mut tx = app.db.read().await?;
    let stored = store::find(&mut tx, id.as_str()).await?;
    let refunded = store::refunded(&mut tx, id).await?;
    drop(tx);
    if let Some(stored) = stored {
        let order = stored.order;
        match order.status {
            Status::Cancelled => return finish(app, id).await,
            status if status.may_cancel() && !order.has_returns() => {
                cancel(app, id, actor, Some(REASON.into())).await?;
            }
            _ => {
                let request = return_of_all(&order, actor);
                let is_paid_back = !order.is_charged() || refunded >= order.total;
                if !request.draft.lines.is_empty() || !is_paid_back {
                    create_return(app, id, &request).await?;
                }
            }
        }
        tracing::info!(order.id = %id, "withdrew an order that its client did not get to know of");
    }
    finish(app, id).await
}

async fn finish(app: &App, id: &OrderId) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    store::withdrawals::finish(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}

/// A return of what is left of each line and of the total, under an id of its own for each order.
fn return_of_all(order: &Order, actor: &str) -> ReturnRequest {
    let left = order.lines.iter().filter_map(|line| {
        let left = Quantity::new(i64::from(line.quantity.get()) - i64::from(line.returned)).ok()?;
        Some((line.line_id.clone(), left))
    });
    let id = ReturnId::trusted(format!("{RETURN_PREFIX}{}", compound_key([order.id.as_str()])));
    let draft = ReturnDraft { id, lines: left.collect(), reason: Some(REASON.into()), restock: true, refund_all: true };
    ReturnRequest { draft, payload_hash: String::new(), key: None, actor: actor.to_owned() }
}

/// The problem of an order whose deadline was over when it came.
pub(super) fn too_late() -> Problem {
    let late = "Acknowledge-By is over: whoever placed the order has given it up. Nothing was placed.";
    Problem::new(Kind::Conflict, late).with_code(CODE)
}

/// The deadline of an acknowledgement; 422 beyond [`LONGEST`].
pub(crate) fn check_deadline(app: &App, deadline: Timestamp) -> Result<Timestamp, Problem> {
    if deadline > app.store_time().plus(LONGEST) {
        let message = format!("at most {} seconds from now", LONGEST.as_secs());
        return Err(Problem::invalid("Acknowledge-By", "range", message));
    }
    Ok(deadline)
}
