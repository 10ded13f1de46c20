//! The queue that callers submit stock commands to: commands of concurrent callers share a transaction.

use std::time::Duration;

use batch::CommandQueue;
use chassis::Context;
use commerce::{Id, OrderId};
use idempotency::KeyedRequest;

use crate::{
    commands::{Command, Outcome},
    domain::{Adjustment, AdjustmentRequest, Level, ReservationRequest, ReservationState, Reserved, StockKey},
    error::Error,
    executor::Executor,
};

/// Most calls that share a transaction.
const MAX_CALLS: usize = 256;

/// A method for each command. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StockQueue {
    commands: CommandQueue<Executor>,
}

impl StockQueue {
    /// Starts the queue.
    pub(crate) fn start(ctx: &Context, executor: Executor) -> Self {
        Self { commands: CommandQueue::start(&ctx.tasks, MAX_CALLS, executor) }
    }

    /// Reserves stock for orders, each all or nothing. One result for each request, in their order.
    pub(crate) async fn reserve(&self, requests: Vec<ReservationRequest>) -> Result<Vec<Reserved>, Error> {
        self.run_all(requests.into_iter().map(Command::Reserve), |outcome| match outcome {
            Outcome::Reserved(reserved) => Ok(reserved),
            other => Err(other.into()),
        })
        .await
    }

    /// Releases the reservations of orders. Returns the state of each reservation afterwards.
    pub(crate) async fn release(&self, orders: Vec<OrderId>) -> Result<Vec<ReservationState>, Error> {
        self.run_all(orders.into_iter().map(Command::Release), |outcome| match outcome {
            Outcome::Released(state) => Ok(state),
            other => Err(other.into()),
        })
        .await
    }

    /// Turns the reservations of orders into sales. Returns the state of each reservation afterwards; none where nothing was
    /// ever reserved.
    pub(crate) async fn commit(&self, orders: Vec<OrderId>) -> Result<Vec<Option<ReservationState>>, Error> {
        self.run_all(orders.into_iter().map(Command::Commit), |outcome| match outcome {
            Outcome::Committed(state) => Ok(state),
            other => Err(other.into()),
        })
        .await
    }

    /// Postpones the expiry of a reservation.
    pub(crate) async fn extend_hold(&self, order_id: OrderId, pause: Duration) -> Result<(), Error> {
        match self.commands.run(Command::ExtendHold { order_id, pause }).await? {
            Outcome::HoldExtended => Ok(()),
            other => Err(other.into()),
        }
    }

    /// Applies all adjustments, or none. Those that were applied before are returned as they were.
    pub(crate) async fn adjust(
        &self,
        requests: Vec<AdjustmentRequest>,
        keyed: Option<KeyedRequest>,
    ) -> Result<Vec<Adjustment>, Error> {
        match self.commands.run(Command::Adjust { requests, keyed }).await? {
            Outcome::Adjusted(adjustments) => Ok(adjustments),
            other => Err(other.into()),
        }
    }

    /// Adjusts a level so that this quantity is available.
    pub(crate) async fn set_available(
        &self,
        key: StockKey,
        available: i64,
        reason: String,
        actor: String,
    ) -> Result<Level, Error> {
        let id = Id::<()>::new().to_string();
        self.set_level(Command::SetAvailable { id, key, available, reason, actor }).await
    }

    /// Sets the threshold below which a level is low.
    pub(crate) async fn set_threshold(&self, key: StockKey, threshold: Option<i64>) -> Result<Level, Error> {
        self.set_level(Command::SetThreshold { key, threshold }).await
    }

    async fn set_level(&self, command: Command) -> Result<Level, Error> {
        match self.commands.run(command).await? {
            Outcome::LevelSet(level) => Ok(level),
            other => Err(other.into()),
        }
    }

    async fn run_all<T>(
        &self,
        commands: impl Iterator<Item = Command>,
        outcome: fn(Outcome) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.commands.run_all(commands.collect()).await?.into_iter().map(outcome).collect()
    }
}

/// The error of a command that did not end as its method expects: it was refused.
impl From<Outcome> for Error {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Refused(refusal) => refusal.into(),
            _ => Self::UnexpectedOutcome,
        }
    }
}
