//! Executes payment commands, many in one transaction: the payments are loaded, the rules decide each command in turn, and what
//! changed is saved together with its events. A local provider decides in the same transaction; for a remote one the operation
//! is recorded in doubt, and [`crate::resolver`] calls the provider.

use std::{collections::BTreeSet, time::Duration};

use batch::CommandExecutor;
use bus::Relay;
use commerce::Timestamp;
use db::Db;

use crate::{
    clients::{Provider, SandboxBalances},
    commands::{Claim, Command, Outcome, Reply, ReplyOutcome},
    domain::{Action, OperationRequest},
    error::Error,
    metrics::MoneyMetrics,
    store,
    unit_of_work::UnitOfWork,
};

/// Executes commands in transactions of the payment store.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) db: Db,
    pub(crate) relay: Relay,
    pub(crate) provider: Provider,
    pub(crate) crash: chassis::CrashPoints,
    pub(crate) money: MoneyMetrics,
    /// How long a claim lasts.
    pub(crate) lease: Duration,
    /// How long a payment that could not be resolved cannot be claimed again.
    pub(crate) pause: Duration,
}

impl CommandExecutor for Executor {
    type Command = Command;
    type Outcome = Outcome;
    type Error = Error;

    async fn execute(&self, commands: &[&Command]) -> Result<Vec<Outcome>, Error> {
        db::retry(|| self.transact(commands)).await
    }

    fn refused(&self, command: &Command, error: Error) -> Result<Outcome, Error> {
        tracing::error!(order.id = %command.order_id(), %error, "the schema refused a payment command");
        match command {
            Command::Operate(_) => Ok(Outcome::Operated(Reply {
                outcome: ReplyOutcome::Invalid("it contradicts stored data".into()),
                payment: None,
                claim: Claim::NotAcquired,
            })),
            Command::Claim(_) | Command::Resolve { .. } => Err(error),
        }
    }
}

impl Executor {
    async fn transact(&self, commands: &[&Command]) -> Result<Vec<Outcome>, Error> {
        let mut tx = self.db.write().await?;
        let orders: BTreeSet<&str> = commands.iter().map(|command| command.order_id().as_str()).collect();
        // By name, since a payment may not exist yet.
        tx.lock(orders.iter().map(|id| format!("order/{id}"))).await?;
        let payments = store::payments::of_orders(&mut tx, &orders).await?;
        let balances = match &self.provider.local {
            None => SandboxBalances::default(),
            Some(sandbox) => {
                let payers = payments.values().filter_map(|payment| payment.customer_id.as_ref());
                let payers = payers.chain(commands.iter().filter_map(|command| match command {
                    Command::Operate(OperationRequest { action: Action::Authorize(terms), .. }) => {
                        terms.customer_id.as_ref()
                    }
                    _ => None,
                }));
                sandbox.balances(&mut tx, payers).await?
            }
        };
        let new: BTreeSet<&str> = commands
            .iter()
            .filter(|command| {
                matches!(command, Command::Operate(OperationRequest { action: Action::Authorize(_), .. }))
            })
            .map(|command| command.order_id().as_str())
            .filter(|order_id| !payments.contains_key(*order_id))
            .collect();
        let next_number = match i64::try_from(new.len()).unwrap_or(i64::MAX) {
            0 => 0,
            count => store::payments::take_numbers(&mut tx, count).await?,
        };
        let now = Timestamp::from_micros(self.db.now_micros());
        let mut unit =
            UnitOfWork::new(&self.provider, self.lease, self.pause, now).with(payments, balances, next_number);
        let outcomes: Vec<Outcome> = commands.iter().map(|command| unit.apply(command)).collect();
        if unit.is_clean() {
            return Ok(outcomes);
        }
        let points = unit.crash_points();
        let moved = unit.save(&mut tx).await?;
        points.iter().for_each(|(before, _)| self.crash.reach(before));
        tx.commit().await?;
        points.iter().for_each(|(_, after)| self.crash.reach(after));
        self.money.count(&moved);
        self.relay.wake();
        Ok(outcomes)
    }
}
