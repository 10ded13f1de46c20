//! Resolves operations in doubt with a remote provider. The provider is asked what became of an operation before anything is
//! sent again, and the operations of one payment are resolved in their order.

use std::time::Duration;

use chassis::Context;
use commerce::{OrderId, Timestamp};
use db::Db;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::{
    clients::Provider,
    commands::Claim,
    domain::{Decision, Op, OperationOutcome, Payment, ProviderCall, ProviderRequest, Resolution, decide_recorded},
    error::Error,
    metrics,
    queue::PaymentQueue,
    store,
};

/// Tries of one operation before the next round.
const TRIES: usize = 2;
/// Payments that a round resolves at once.
const PER_ROUND: i64 = 32;

/// How long a replica's claim of a payment lasts: longer than all calls to the provider may take.
pub(crate) fn lease(provider: &Provider) -> Duration {
    // A try is a lookup and a send; one more lookup follows the last, and commits take time too.
    let calls = u32::try_from(TRIES * 2 + 1).unwrap_or(u32::MAX);
    provider.timeout * calls + Duration::from_secs(1)
}

/// Resolves payments in doubt. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) db: Db,
    pub(crate) queue: PaymentQueue,
    pub(crate) provider: Provider,
    pub(crate) tasks: TaskTracker,
    /// The pause between two rounds.
    pub(crate) every: Duration,
}

/// Whether a payment is still in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Resolved,
    InDoubt,
}

/// Whether a call about an operation may have been sent to the provider before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Never,
    Possibly,
}

impl Resolver {
    /// Resolves payments at once, and waits for that at most `patience`. The work continues when the caller is cancelled or its
    /// patience ends, and a stopping process waits for it.
    pub(crate) async fn resolve_now(&self, payments: impl Iterator<Item = (OrderId, Claim)>, patience: Duration) {
        let mut tasks = JoinSet::new();
        for (order_id, claim) in payments {
            let resolver = self.clone();
            let task = self.tasks.spawn(async move {
                if let Err(error) = resolver.resolve_payment(&order_id, claim).await {
                    tracing::warn!(order.id = %order_id, %error, "a payment stays in doubt for now");
                }
            });
            tasks.spawn(async move { task.await.ok() });
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, all).await;
        tasks.detach_all();
    }

    /// Resolves the operations in doubt of one payment as far as the provider answers. `claim` is acquired only if the caller
    /// has just recorded the first of them.
    async fn resolve_payment(&self, order_id: &OrderId, claim: Claim) -> Result<Progress, Error> {
        let mut sent = match claim {
            Claim::Acquired => Sent::Never,
            Claim::NotAcquired => Sent::Possibly,
        };
        if claim == Claim::NotAcquired && self.queue.claim(order_id.clone()).await? == Claim::NotAcquired {
            return Ok(Progress::InDoubt);
        }
        loop {
            let Some(payment) = self.load(order_id).await? else {
                return Ok(Progress::Resolved);
            };
            let Some(index) = payment.first_in_doubt() else {
                return Ok(Progress::Resolved);
            };
            let resolution = match decide_recorded(&payment, index) {
                Decision::Resolved(resolution) => Some(resolution),
                Decision::Ask(request) => ask(&self.provider, &payment, index, request, sent).await,
                _ => None,
            };
            sent = Sent::Possibly;
            let answered = resolution.is_some();
            self.queue.resolve(order_id.clone(), &payment.operations[index], resolution).await?;
            if !answered {
                return Ok(Progress::InDoubt);
            }
        }
    }

    async fn load(&self, order_id: &OrderId) -> Result<Option<Payment>, Error> {
        let mut tx = self.db.snapshot().await?;
        let orders = [order_id.as_str()].into();
        Ok(store::payments::of_orders(&mut tx, &orders).await?.remove(order_id.as_str()))
    }

    /// Runs rounds until the process stops. They resolve what no caller waits for, also of other replicas and earlier runs.
    pub(crate) async fn run(self, ctx: Context) {
        let resolved = metrics::resolved(&ctx.metrics);
        let succeeded = upkeep::LastSuccess::of(&ctx, "resolver");
        let mut last = String::new();
        loop {
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let error = match self.run_round(&resolved).await {
                Ok(()) => {
                    succeeded.now();
                    String::new()
                }
                Err(error) => error.to_string(),
            };
            // A failure that lasts is logged once.
            if error != last && !error.is_empty() {
                tracing::warn!(%error, "payments in doubt cannot be read");
            }
            last = error;
        }
    }

    async fn run_round(&self, resolved: &prometheus::IntCounterVec) -> Result<(), Error> {
        let orders = {
            let now = Timestamp::from_micros(self.db.read_clock().await?);
            let latest = now.latest_deadline(lease(&self.provider).max(self.every));
            let mut tx = self.db.read().await?;
            store::payments::unclaimed(&mut tx, now, latest, PER_ROUND).await?
        };
        let mut tasks = JoinSet::new();
        for order_id in orders {
            let resolver = self.clone();
            tasks.spawn(async move { resolver.resolve_payment(&order_id, Claim::NotAcquired).await });
        }
        while let Some(ended) = tasks.join_next().await {
            let label = if matches!(ended, Ok(Ok(Progress::Resolved))) { "yes" } else { "no" };
            resolved.with_label_values(&[label]).inc();
        }
        Ok(())
    }
}

/// How the provider resolves one operation; nothing if it does not answer.
async fn ask(
    provider: &Provider,
    payment: &Payment,
    index: usize,
    request: ProviderRequest,
    sent: Sent,
) -> Option<Resolution> {
    let call = ProviderCall::of(payment, index, request);
    let mut sent = sent;
    for _ in 0..TRIES {
        if sent == Sent::Possibly {
            match provider.lookup(&call).await {
                Ok(Some(resolution)) => return Some(resolution),
                Ok(None) if is_obsolete(payment, index) => {
                    return provider.abandon(&call).await.ok();
                }
                Ok(None) => {}
                Err(_) => return None,
            }
        }
        if let Ok(resolution) = provider.send(&call).await {
            return Some(resolution);
        }
        sent = Sent::Possibly;
    }
    provider.lookup(&call).await.ok().flatten()
}

/// A charge need not happen any more if a void waits for it.
fn is_obsolete(payment: &Payment, index: usize) -> bool {
    let waiting = |op: Op| {
        let mut later = payment.operations.iter().skip(index + 1);
        later.any(|known| known.op == op && known.outcome == OperationOutcome::InDoubt)
    };
    payment.operations[index].op == Op::Authorize && waiting(Op::Void)
}
