//! The queue that callers submit payment commands to: commands of concurrent callers share a transaction.

use batch::CommandQueue;
use chassis::Context;
use commerce::OrderId;

use crate::{
    commands::{Claim, Command, Outcome, Reply},
    domain::{Operation, OperationRequest, Resolution},
    error::Error,
    executor::Executor,
};

/// Most calls that share a transaction.
const MAX_CALLS: usize = 256;

/// A method for each command. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PaymentQueue {
    commands: CommandQueue<Executor>,
}

impl PaymentQueue {
    /// Starts the queue.
    pub(crate) fn start(ctx: &Context, executor: Executor) -> Self {
        Self { commands: CommandQueue::start(&ctx.tasks, MAX_CALLS, executor) }
    }

    /// Performs operations. One reply for each request, in their order.
    pub(crate) async fn operate(&self, requests: Vec<OperationRequest>) -> Result<Vec<Reply>, Error> {
        let outcomes = self.commands.run_all(requests.into_iter().map(Command::Operate).collect()).await?;
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Operated(reply) => Ok(reply),
                _ => Err(Error::UnexpectedOutcome),
            })
            .collect()
    }

    /// Claims a payment in doubt.
    pub(crate) async fn claim(&self, order_id: OrderId) -> Result<Claim, Error> {
        match self.commands.run(Command::Claim(order_id)).await? {
            Outcome::Claimed(claim) => Ok(claim),
            _ => Err(Error::UnexpectedOutcome),
        }
    }

    /// Ends an operation in doubt as the provider has answered. Without an answer the payment can be claimed again after a pause.
    pub(crate) async fn resolve(
        &self,
        order_id: OrderId,
        operation: &Operation,
        resolution: Option<Resolution>,
    ) -> Result<(), Error> {
        let command = Command::Resolve { order_id, op: operation.op, op_id: operation.op_id.clone(), resolution };
        match self.commands.run(command).await? {
            Outcome::Resolved => Ok(()),
            _ => Err(Error::UnexpectedOutcome),
        }
    }
}
