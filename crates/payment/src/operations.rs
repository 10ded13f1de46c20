//! Performs operations on payments: records them, resolves those that are in doubt with a remote provider, and replies.

use std::{collections::BTreeMap, time::Duration};

use chassis::Metrics;
use commerce::OrderId;
use prometheus::IntCounterVec;

use crate::{
    commands::{Claim, Reply, ReplyOutcome},
    domain::OperationRequest,
    error::Error,
    metrics,
    queue::PaymentQueue,
    resolver::Resolver,
};

/// The operations that the API offers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    queue: PaymentQueue,
    resolver: Resolver,
    /// How long a caller waits for the provider.
    patience: Duration,
    performed: IntCounterVec,
}

impl Operations {
    pub(crate) fn new(queue: PaymentQueue, resolver: Resolver, patience: Duration, metrics: &Metrics) -> Self {
        Self { queue, resolver, patience, performed: metrics::operations(metrics) }
    }

    /// Performs operations. One reply for each request, in their order; "in doubt" if the provider does not answer in time.
    pub(crate) async fn perform(&self, requests: Vec<OperationRequest>) -> Result<Vec<Reply>, Error> {
        let mut replies = self.queue.operate(requests.clone()).await?;
        let in_doubt: Vec<usize> =
            (0..replies.len()).filter(|n| replies[*n].outcome == ReplyOutcome::InDoubt).collect();
        if !in_doubt.is_empty() {
            let mut payments: BTreeMap<&OrderId, Claim> = BTreeMap::new();
            for n in &in_doubt {
                let claim = payments.entry(&requests[*n].order_id).or_insert(Claim::NotAcquired);
                if replies[*n].claim == Claim::Acquired {
                    *claim = Claim::Acquired;
                }
            }
            let payments = payments.into_iter().map(|(order_id, claim)| (order_id.clone(), claim));
            self.resolver.resolve_now(payments, self.patience).await;
            // A repeat of a resolved operation returns its result.
            let repeats = in_doubt.iter().map(|n| requests[*n].clone()).collect();
            for (n, reply) in in_doubt.into_iter().zip(self.queue.operate(repeats).await?) {
                replies[n] = reply;
            }
        }
        for (request, reply) in requests.iter().zip(&replies) {
            let outcome = match reply.outcome {
                ReplyOutcome::Done => "done",
                ReplyOutcome::Refused(_) => "refused",
                ReplyOutcome::InDoubt => "in_doubt",
                ReplyOutcome::Invalid(_) => "invalid",
            };
            self.performed.with_label_values(&[request.action.op().as_str(), outcome]).inc();
        }
        Ok(replies)
    }
}
