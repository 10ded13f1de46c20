//! Settling what is in doubt with a foreign provider: after doubt it is asked what became of an operation
//! before anything is sent again, and the operations of one payment are settled in their order.

use std::time::Duration;

use chassis::Context;
use commerce::{OrderId, Timestamp};
use db::Db;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::{
    clients::{Provider, ProviderCall},
    commands::{Command, PaymentQueue},
    config::Config,
    domain::{Decision, Op, OperationOutcome, Payment, ProviderRequest, Resolution, decide_recorded},
    error::Error,
    metrics, store,
};

/// Tries of one operation before it is left to the resolver.
const TRIES: usize = 2;
/// Payments that the resolver takes up at once.
const AT_ONCE: i64 = 32;

/// What settling needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Settling {
    db: Db,
    provider: Provider,
    tasks: TaskTracker,
    patience: Duration,
    every: Duration,
}

impl Settling {
    /// Settling with this provider.
    pub(crate) fn new(config: &Config, ctx: &Context, db: Db, provider: Provider) -> Self {
        Self {
            db,
            provider,
            tasks: ctx.tasks.clone(),
            patience: Duration::from_millis(config.provider_patience_ms),
            every: Duration::from_millis(config.resolve_every_ms.max(10)),
        }
    }

    /// How long a payment is in one replica's hands: longer than all its calls may take.
    pub(crate) fn lease(&self) -> Duration {
        // A try is a lookup and a send; one more lookup follows the last, and commits take time too.
        let calls = u32::try_from(TRIES * 2 + 1).unwrap_or(u32::MAX);
        self.provider.timeout * calls + Duration::from_secs(1)
    }

    /// How long a payment rests that could not be settled.
    pub(crate) fn pause(&self) -> Duration {
        self.every
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }
}

/// Settles the operations in doubt of one payment, as far as the provider answers. `holds` says that the
/// caller has just written the first of them down and has it in hand, so that nothing can have been sent.
pub(crate) async fn drive(queue: &PaymentQueue, order_id: OrderId, holds: bool) {
    let mut fresh = holds;
    if let Err(err) = try_drive(queue, &order_id, holds, &mut fresh).await {
        tracing::warn!(order.id = %order_id, error = %err, "a payment stays in doubt for now");
    }
}

async fn try_drive(queue: &PaymentQueue, order_id: &OrderId, holds: bool, fresh: &mut bool) -> Result<bool, Error> {
    if !holds && !claim(queue, order_id).await? {
        return Ok(false);
    }
    loop {
        let Some(payment) = load(&queue.settling.db, order_id).await? else {
            return Ok(true);
        };
        let Some(index) = payment.first_in_doubt() else {
            return Ok(true);
        };
        let resolution = match decide_recorded(&payment, index) {
            Decision::Resolved(resolution) => Some(resolution),
            Decision::Ask(request) => ask(&queue.settling.provider, &payment, index, request, *fresh).await,
            _ => None,
        };
        *fresh = false;
        let settled = resolution.is_some();
        let operation = &payment.operations[index];
        let task = Command::Settle {
            order_id: order_id.clone(),
            op: operation.op,
            op_id: operation.op_id.clone(),
            resolution,
        };
        queue.run(vec![task]).await?;
        if !settled {
            return Ok(false);
        }
    }
}

/// What the provider says about one operation; nothing if it does not answer.
async fn ask(
    provider: &Provider,
    payment: &Payment,
    index: usize,
    request: ProviderRequest,
    fresh: bool,
) -> Option<Resolution> {
    let call = ProviderCall::of(payment, index, request);
    let mut unsent = fresh;
    for _ in 0..TRIES {
        if !unsent {
            match provider.lookup(&call.key).await {
                Ok(Some(resolution)) => return Some(resolution),
                Ok(None) if is_unwanted(payment, index) => {
                    return provider.abandon(&call.key).await.ok();
                }
                Ok(None) => {}
                Err(_) => return None,
            }
        }
        if let Ok(resolution) = provider.send(&call).await {
            return Some(resolution);
        }
        unsent = false;
    }
    provider.lookup(&call.key).await.ok().flatten()
}

/// A charge that a void waits behind need not happen any more.
fn is_unwanted(payment: &Payment, index: usize) -> bool {
    let waiting = |op: Op| {
        let mut later = payment.operations.iter().skip(index + 1);
        later.any(|known| known.op == op && known.outcome == OperationOutcome::InDoubt)
    };
    payment.operations[index].op == Op::Authorize && waiting(Op::Void)
}

async fn claim(queue: &PaymentQueue, order_id: &OrderId) -> Result<bool, Error> {
    let answers = queue.run(vec![Command::Claim(order_id.clone())]).await?;
    Ok(answers.first().is_some_and(|answer| answer.holds))
}

async fn load(db: &Db, order_id: &OrderId) -> Result<Option<Payment>, Error> {
    let mut tx = db.snapshot().await?;
    let orders = [order_id.as_str()].into();
    Ok(store::payments::of_orders(&mut tx, &orders).await?.remove(order_id.as_str()))
}

/// Takes up, again and again, what is in doubt and in nobody's hands: of this run, of dead replicas and of
/// runs before.
pub(crate) async fn resolve_for_ever(queue: PaymentQueue, ctx: Context) {
    let resolved = metrics::resolved(&ctx.metrics);
    let succeeded = upkeep::LastSuccess::of(&ctx, "resolver");
    let mut last = String::new();
    loop {
        tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(queue.settling.every) => {}
        }
        match resolve(&queue, &resolved).await {
            Ok(()) => {
                succeeded.now();
                last.clear();
            }
            Err(err) if err.to_string() == last => {}
            Err(err) => {
                last = err.to_string();
                tracing::warn!(error = %last, "payments in doubt cannot be looked at");
            }
        }
    }
}

async fn resolve(queue: &PaymentQueue, resolved: &prometheus::IntCounterVec) -> Result<(), Error> {
    let orders = {
        let mut tx = queue.settling.db.read().await?;
        store::payments::unclaimed(&mut tx, Timestamp::now(), AT_ONCE).await?
    };
    let mut drives = JoinSet::new();
    for order_id in orders {
        let queue = queue.clone();
        drives.spawn(async move { try_drive(&queue, &order_id, false, &mut false).await });
    }
    while let Some(driven) = drives.join_next().await {
        let settled = matches!(driven, Ok(Ok(true)));
        resolved.with_label_values(&[if settled { "yes" } else { "no" }]).inc();
    }
    Ok(())
}
