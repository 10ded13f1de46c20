//! Taking goods back and giving money back: decided durably first, then done.

use std::time::Duration;

use chassis::{Kind, Problem};
use commerce::{Amount, OrderId, ReturnId, Timestamp};
use proto::payment::v1 as payment;

use crate::{
    checkout::Checkout,
    domain::{Deltas, Order, RefundStatus, Return, ReturnRefused, WantedReturn, Work, plan_return},
    error::Error,
    events,
    store::{self, Key},
};

/// How often a return is tried against others who change the order at the same time.
const TRIES: u32 = 20;
/// Longest wait before the payment service is asked again.
const SLOWEST: Duration = Duration::from_secs(2);

/// A return as somebody asks for it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) wanted: WantedReturn,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    pub(crate) actor: String,
}

impl Checkout {
    /// Takes goods back, unless the same request did before: the order, the return and its event are one
    /// transaction; then the refund is made. Gives the return's id, and whether it is new.
    pub(crate) async fn take_back(&self, id: &OrderId, asked: Asked) -> Result<(ReturnId, bool), Error> {
        for _ in 0..TRIES {
            let mut tx = self.db.write().await?;
            // Looked up under the write lock, so that of many copies one makes the return and the others find it.
            if let Some(known) = known(&mut tx, &asked).await? {
                return Ok((known, false));
            }
            let mut held = store::get_locked(&mut tx, id).await?;
            if matches!(held.work, Some(Work::Checkout | Work::Cancel { .. })) {
                return Err(refused(&held.order, ReturnRefused::Status).into());
            }
            let read = (held.order.version, held.lease.epoch);
            let refunded = store::refunded(&mut tx, id).await?;
            let now = Timestamp::now();
            let mut sales = Deltas::default();
            if held.summed {
                sales.order(&held.order, true);
            }
            let made = plan_return(&mut held.order, asked.wanted.clone(), refunded, now)
                .map_err(|why| refused(&held.order, why))?;
            let pending = made.refund.status == RefundStatus::Pending;
            let work = if pending { Some(Work::Refund) } else { held.work.clone() };
            let epoch = held.lease.epoch + i64::from(pending);
            let lease = if pending { self.lease(epoch) } else { held.lease.clone() };
            held.order.touch(now);
            if !store::change(&mut tx, &held.order, work.as_ref(), read, &lease).await? {
                continue;
            }
            store::insert_return(&mut tx, &made, &asked.payload_hash).await?;
            if let Some(key) = &asked.key {
                store::put_key(&mut tx, key, &asked.payload_hash, made.id.as_str(), now).await?;
            }
            let event = events::returned(&held.order, &made, &asked.actor);
            bus::outbox::append(&mut tx, crate::NAME, vec![event]).await?;
            if held.summed {
                sales.order(&held.order, false);
            }
            store::sales::add(&mut tx, sales).await?;
            self.ctx.crash.reach("order.return.before");
            tx.commit().await?;
            self.ctx.crash.reach("order.return.after");
            self.relay.wake();
            if pending {
                self.give_back(held.order, epoch);
            }
            return Ok((made.id, true));
        }
        Err(Problem::new(Kind::Conflict, "The order is being changed by others; try again.").into())
    }

    /// Makes the refunds that are decided on an order, in a task of their own.
    pub(crate) fn give_back(&self, order: Order, epoch: i64) {
        let this = self.clone();
        let driving = self.driving.add(&order.id, epoch);
        self.ctx.tasks.spawn(async move {
            let mut pauses = chassis::backoff::pauses(SLOWEST);
            loop {
                match this.refund_pending(&order.id, epoch).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(order.id = %order.id, error = &error as &dyn std::error::Error, "a refund is not stored yet");
                    }
                }
                if this.ctx.shutdown.is_cancelled() {
                    break;
                }
                tokio::time::sleep(pauses.next().unwrap_or(SLOWEST)).await;
            }
            drop(driving);
        });
    }

    /// Asks for every refund that is pending and writes what became of them; false to be tried again.
    async fn refund_pending(&self, id: &OrderId, epoch: i64) -> Result<bool, Error> {
        let mut tx = self.db.read().await?;
        let returns = store::returns_of(&mut tx, id).await?;
        drop(tx);
        let mut settled = Vec::new();
        let mut status = None;
        for mut made in returns.into_iter().filter(|made| made.refund.status == RefundStatus::Pending) {
            let operation = payment::Operation {
                order_id: id.to_string(),
                op_id: made.id.to_string(),
                amount: made.refund.amount.minor(),
                reason: made.reason.clone().unwrap_or_else(|| "goods returned".into()),
                // Head office may have given money back by hand; then less is left.
                up_to: true,
            };
            self.ctx.crash.reach("order.refund.before");
            let answer = self.clients.refund(operation).await;
            self.ctx.crash.reach("order.refund.after");
            let Ok(result) = answer else { return Ok(false) };
            made.refund.status = match result.outcome() {
                payment::Outcome::Done => {
                    made.refund.amount = given_back(&result, &made);
                    RefundStatus::Done
                }
                payment::Outcome::Refused | payment::Outcome::Invalid => {
                    tracing::error!(order.id = %id, reason = result.reason, "the payment service refuses a refund");
                    RefundStatus::Refused
                }
                payment::Outcome::InDoubt | payment::Outcome::Unspecified => return Ok(false),
            };
            status = result.payment.map(|payment| payment.status).or(status);
            settled.push(made);
        }
        self.store_refunds(id, epoch, &settled, status).await?;
        Ok(true)
    }

    async fn store_refunds(
        &self,
        id: &OrderId,
        epoch: i64,
        settled: &[Return],
        status: Option<String>,
    ) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        let mut held = store::get_locked(&mut tx, id).await?;
        if held.lease.epoch != epoch {
            // Somebody else drives the order now, and makes the same refunds under the same ids.
            return Ok(());
        }
        let read = (held.order.version, epoch);
        held.order.payment.status = status.unwrap_or(held.order.payment.status);
        held.order.version += 1;
        held.order.updated_at = Timestamp::now();
        if store::change(&mut tx, &held.order, None, read, &held.lease).await? {
            for made in settled {
                store::set_refund(&mut tx, made).await?;
            }
            self.ctx.crash.reach("order.refunded.before");
            tx.commit().await?;
            self.ctx.crash.reach("order.refunded.after");
        }
        Ok(())
    }
}

/// What a refund really gave back, as the payment's operations tell.
fn given_back(result: &payment::OperationResult, made: &Return) -> Amount {
    let operations = result.payment.as_ref().map(|payment| payment.operations.as_slice()).unwrap_or_default();
    operations
        .iter()
        .find(|operation| operation.op == "refund" && operation.op_id == made.id.as_str())
        .map_or(made.refund.amount, |operation| Amount::from_minor(operation.amount))
}

/// The return that the same key or id made before.
async fn known(tx: &mut db::Tx, asked: &Asked) -> Result<Option<ReturnId>, Error> {
    let key = asked.key.as_ref().map(Key::name);
    tx.lock(key.into_iter().chain([format!("return/{}", asked.wanted.id)])).await?;
    let by_key = match &asked.key {
        Some(key) => store::find_key(tx, key).await?,
        None => None,
    };
    let by_id = store::find_return(tx, asked.wanted.id.as_str()).await?;
    match (by_key, by_id) {
        (Some((_, hash, _)), _) if hash != asked.payload_hash => Err(Problem::invalid(
            "Idempotency-Key",
            "reused",
            "this key came before with another payload; use a new one",
        )
        .into()),
        (Some((target, ..)), _) => Ok(Some(ReturnId::trusted(target))),
        (None, Some((made, hash))) if hash == asked.payload_hash => Ok(Some(made.id)),
        (None, Some(_)) => {
            Err(Problem::new(Kind::Conflict, "A return with this id exists, with other contents.").into())
        }
        (None, None) => Ok(None),
    }
}

fn refused(order: &Order, why: ReturnRefused) -> Problem {
    match why {
        ReturnRefused::Status => Problem::new(
            Kind::Conflict,
            format!("Goods of an order that is {} cannot come back.", order.status.as_str()),
        ),
        ReturnRefused::UnknownLine(position) => {
            Problem::invalid(&format!("lines[{position}].line_id"), "exists", "the order has no such line")
        }
        ReturnRefused::TooMany(position, left) => Problem::new(
            Kind::Conflict,
            format!("lines[{position}].quantity: only {left} of this line can still come back."),
        )
        .with("line", position)
        .with("returnable", left),
    }
}
