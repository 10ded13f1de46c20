//! Returns of goods and their refunds: the decision is stored first, then the refund is made.

use std::time::Duration;

use chassis::{Kind, Problem, backoff};
use commerce::{Amount, OrderId, ReturnId, Timestamp};
use proto::payment::v1 as payment;
use tokio::time::Instant;

use super::{App, outcome::poll, payment_status, require_written};
use idempotency::Key;

use crate::{
    domain::{Deltas, Order, PendingWork, RefundStatus, Return, ReturnDraft, ReturnError, plan_return},
    error::Error,
    events,
    store::{self, StoredResponse, routes},
};

/// Longest pause before the payment service is called again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A request for a return.
#[derive(Clone)]
pub(crate) struct ReturnRequest {
    pub(crate) draft: ReturnDraft,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    pub(crate) actor: String,
}

/// A return that is stored.
pub(crate) enum CreatedReturn {
    /// This request made it.
    New(ReturnId),
    /// The same key or id made it before.
    Existing(ReturnId),
}

/// Creates a return, unless the same request did before: order, return and event are one transaction. Then starts the refund.
pub(crate) async fn create_return(app: &App, id: &OrderId, request: &ReturnRequest) -> Result<CreatedReturn, Error> {
    let mut tx = app.db.write().await?;
    // Looked up under the lock of the key, so that of concurrent copies one creates the return and the others find it.
    if let Some(existing) = find_existing(&mut tx, request).await? {
        return Ok(CreatedReturn::Existing(existing));
    }
    let stored = store::get_locked(&mut tx, id).await?;
    if matches!(stored.work, Some(PendingWork::Checkout | PendingWork::Cancel { .. })) {
        return Err(refused(&stored.order, &ReturnError::Status).into());
    }
    let read_version = stored.read_version();
    let refunded = store::refunded(&mut tx, id).await?;
    let now = Timestamp::now();
    let mut sales = Deltas::default();
    if stored.summed {
        sales.subtract_order(&stored.order);
    }
    let mut order = stored.order;
    let created = plan_return(&mut order, request.draft.clone(), refunded, now).map_err(|why| refused(&order, &why))?;
    order.touch(now);
    if stored.summed {
        sales.add_order(&order);
    }
    let pending = created.refund.status == RefundStatus::Pending;
    let (work, lease) = if pending {
        (Some(PendingWork::Refund), app.new_lease(stored.lease.epoch + 1))
    } else {
        (stored.work, stored.lease)
    };
    require_written(store::update(&mut tx, &order, work.as_ref(), read_version, &lease).await?)?;
    store::insert_return(&mut tx, &created, &request.payload_hash).await?;
    if let Some(key) = &request.key {
        store::put_key(&mut tx, key, &request.payload_hash, created.id.as_str(), now).await?;
    }
    let event = events::returned(&order, &created, &request.actor);
    bus::outbox::append(&mut tx, crate::NAME, vec![event]).await?;
    store::sales::add(&mut tx, sales).await?;
    app.ctx.crash.reach("order.return.before");
    tx.commit().await?;
    app.ctx.crash.reach("order.return.after");
    app.relay.wake();
    if pending {
        spawn_refunds(app, order, lease.epoch);
    }
    Ok(CreatedReturn::New(created.id))
}

/// Waits until the refund of a return is settled, at most until `deadline`, and renders the return. The first final
/// response is stored for the key.
pub(crate) async fn wait_for_refund(
    app: &App,
    id: &ReturnId,
    key: Option<&Key>,
    deadline: Instant,
    render: impl Fn(&Return) -> StoredResponse,
) -> Result<StoredResponse, Error> {
    enum Found {
        Response(StoredResponse),
        Return(Box<Return>),
    }
    let not_found = || Problem::not_found("return");
    let read = || async {
        let mut tx = app.db.read().await?;
        if let Some(key) = key
            && let Some((_, _, Some(response))) = store::find_key(&mut tx, key).await?
        {
            return Ok(Some(Found::Response(response)));
        }
        let (found, _) = store::find_return(&mut tx, id.as_str()).await?.ok_or_else(not_found)?;
        Ok((found.refund.status != RefundStatus::Pending).then(|| Found::Return(Box::new(found))))
    };
    match poll(deadline, read).await? {
        Some(Found::Response(response)) => Ok(response),
        Some(Found::Return(settled)) => {
            let response = render(&settled);
            if key.is_some() {
                let mut tx = app.db.write().await?;
                store::put_response(&mut tx, routes::RETURNS, id.as_str(), &response).await?;
                tx.commit().await?;
            }
            Ok(response)
        }
        None => {
            let mut tx = app.db.read().await?;
            let (pending, _) = store::find_return(&mut tx, id.as_str()).await?.ok_or_else(not_found)?;
            Ok(render(&pending))
        }
    }
}

/// Makes the pending refunds of an order in a task of its own.
pub(super) fn spawn_refunds(app: &App, order: Order, epoch: i64) {
    let app = app.clone();
    let tasks = app.ctx.tasks.clone();
    let active = app.active.add(&order.id, epoch);
    tasks.spawn(async move {
        let mut pauses = backoff::pauses(LONGEST_PAUSE);
        loop {
            match refund_pending(&app, &order.id, epoch).await {
                Ok(Refunds::Settled) => break,
                Ok(Refunds::Unanswered) => {}
                Err(error) => {
                    tracing::warn!(order.id = %order.id, error = &error as &dyn std::error::Error, "storing a refund failed; retrying");
                }
            }
            if app.ctx.shutdown.is_cancelled() {
                break;
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
        drop(active);
    });
}

enum Refunds {
    /// Each pending refund was made or refused, and its result is stored.
    Settled,
    /// The payment service gave no definite answer; the refunds have to be requested again.
    Unanswered,
}

/// Requests every pending refund of an order and stores the results.
async fn refund_pending(app: &App, id: &OrderId, epoch: i64) -> Result<Refunds, Error> {
    let mut tx = app.db.read().await?;
    let returns = store::returns_of(&mut tx, id).await?;
    drop(tx);
    let mut settled = Vec::new();
    let mut payment = None;
    for mut made in returns.into_iter().filter(|made| made.refund.status == RefundStatus::Pending) {
        let operation = payment::Operation {
            order_id: id.to_string(),
            op_id: made.id.to_string(),
            amount: made.refund.amount.minor(),
            reason: made.reason.clone().unwrap_or_else(|| "goods returned".into()),
            // A refund by hand may have left less than the return's price.
            up_to: true,
        };
        app.ctx.crash.reach("order.refund.before");
        let result = app.clients.refund(operation).await;
        app.ctx.crash.reach("order.refund.after");
        let Ok(result) = result else { return Ok(Refunds::Unanswered) };
        made.refund.status = match result.outcome() {
            payment::Outcome::Done => {
                made.refund.amount = refunded_amount(&result, &made);
                RefundStatus::Done
            }
            payment::Outcome::Refused | payment::Outcome::Invalid => {
                tracing::error!(order.id = %id, reason = result.reason, "the payment service refused a refund");
                RefundStatus::Refused
            }
            payment::Outcome::InDoubt | payment::Outcome::Unspecified => return Ok(Refunds::Unanswered),
        };
        payment = result.payment.or(payment);
        settled.push(made);
    }
    store_refunds(app, id, epoch, &settled, payment).await?;
    Ok(Refunds::Settled)
}

async fn store_refunds(
    app: &App,
    id: &OrderId,
    epoch: i64,
    settled: &[Return],
    payment: Option<payment::Payment>,
) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    // An event about a later refund, by hand, may have come before this answer is stored.
    let consumed = bus::inbox::last_sequence(&mut tx, payment_status::TOPIC, id.as_str()).await?;
    let stored = store::get_locked(&mut tx, id).await?;
    if stored.lease.epoch != epoch {
        // Another replica has taken the order over and makes the same refunds under the same ids.
        return Ok(());
    }
    let read_version = stored.read_version();
    let mut order = stored.order;
    if let Some(payment) = payment.filter(|payment| payment.sequence == 0 || payment.sequence >= consumed) {
        order.payment.status = payment.status;
    }
    order.version += 1;
    order.updated_at = Timestamp::now();
    require_written(store::update(&mut tx, &order, None, read_version, &stored.lease).await?)?;
    for made in settled {
        store::set_refund(&mut tx, made).await?;
    }
    app.ctx.crash.reach("order.refunded.before");
    tx.commit().await?;
    app.ctx.crash.reach("order.refunded.after");
    Ok(())
}

/// The amount that a refund returned, as the payment's operations show it.
fn refunded_amount(result: &payment::OperationResult, made: &Return) -> Amount {
    let operations = result.payment.as_ref().map(|payment| payment.operations.as_slice()).unwrap_or_default();
    operations
        .iter()
        .find(|operation| operation.op == "refund" && operation.op_id == made.id.as_str())
        .map_or(made.refund.amount, |operation| Amount::from_minor(operation.amount))
}

/// The return that the same key or id made before. Locks both until the transaction ends.
async fn find_existing(tx: &mut db::Tx, request: &ReturnRequest) -> Result<Option<ReturnId>, Error> {
    let key_lock = request.key.as_ref().map(Key::lock_name);
    tx.lock(key_lock.into_iter().chain([format!("return/{}", request.draft.id)])).await?;
    let by_key = match &request.key {
        Some(key) => store::find_key(tx, key).await?,
        None => None,
    };
    let by_id = store::find_return(tx, request.draft.id.as_str()).await?;
    match (by_key, by_id) {
        (Some((_, hash, _)), _) if hash != request.payload_hash => Err(idempotency::reused().into()),
        (Some((target, ..)), _) => Ok(Some(ReturnId::trusted(target))),
        (None, Some((made, hash))) if hash == request.payload_hash => Ok(Some(made.id)),
        (None, Some(_)) => {
            let reused = Problem::new(Kind::Conflict, "A return with this id exists, with other contents.");
            Err(reused.with_code("return.id_reused").into())
        }
        (None, None) => Ok(None),
    }
}

fn refused(order: &Order, why: &ReturnError) -> Problem {
    match why {
        ReturnError::Status => Problem::new(
            Kind::Conflict,
            format!("Goods of an order that is {} cannot be returned.", order.status.as_str()),
        )
        .with_code("order.not_returnable"),
        ReturnError::UnknownLine(index) => {
            Problem::invalid(&format!("lines[{index}].line_id"), "exists", "the order has no such line")
        }
        ReturnError::TooMany(index, left) => Problem::new(
            Kind::Conflict,
            format!("lines[{index}].quantity: at most {left} of this line can still be returned."),
        )
        .with_code("return.too_many")
        .with("line", index)
        .with("returnable", left),
    }
}
