//! Operations on money, many at once: what concurrent callers ask for is one transaction, in which the rules
//! decide each operation in turn. A local provider decides in there too; for a foreign one the intent is
//! written, and [`crate::resolver`] goes and asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use batch::Batcher;
use bus::Relay;
use chassis::Context;
use commerce::OrderId;
use db::Db;
use tokio::task::JoinSet;

use crate::{
    clients::{Provider, SandboxBalances},
    domain::{Action, Op, OperationRequest, Payment, Resolution},
    error::Error,
    metrics::{self, MoneyMetrics},
    resolver::{self, Settling},
    store,
    unit_of_work::UnitOfWork,
};

/// Most calls that share a transaction.
const MAX_CALLS: usize = 256;

/// One thing to do to one order's payment.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// What a caller asks for.
    Change(OperationRequest),
    /// Take the payment in hand, to talk to the provider about it.
    Claim(OrderId),
    /// Write down what the provider said; nothing if it did not answer.
    Settle { order_id: OrderId, op: Op, op_id: String, resolution: Option<Resolution> },
}

impl Command {
    fn order_id(&self) -> &OrderId {
        match self {
            Self::Change(change) => &change.order_id,
            Self::Claim(order_id) | Self::Settle { order_id, .. } => order_id,
        }
    }
}

/// What became of an operation, for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It happened.
    Done,
    /// It did not and will not.
    Refused(String),
    /// Nobody knows yet.
    InDoubt,
    /// It cannot be asked like that.
    Invalid(String),
}

/// What a caller hears.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// What became of it.
    pub reply: Reply,
    /// The payment after it, where there is one.
    pub payment: Option<Payment>,
    /// Whether this very task got hold of the payment, and may talk to the provider about it.
    pub(crate) holds: bool,
}

type Calls = Batcher<Arc<Vec<Command>>, Vec<Answer>, Error>;

/// Where operations are put in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PaymentQueue {
    calls: Calls,
    pub(crate) settling: Settling,
    operations: prometheus::IntCounterVec,
}

impl PaymentQueue {
    /// Opens the till.
    pub(crate) fn open(
        ctx: &Context,
        db: &Db,
        relay: Relay,
        provider: Provider,
        settling: Settling,
        money: MoneyMetrics,
    ) -> Self {
        let executor = Executor {
            db: db.clone(),
            relay,
            provider,
            crash: ctx.crash.clone(),
            money,
            lease: settling.lease(),
            pause: settling.pause(),
        };
        // A database that does not answer would let each call wait for it alone, with all others behind it.
        let calls = Batcher::start_with(
            &ctx.tasks,
            MAX_CALLS,
            |err: &Error| !err.is_silence(),
            move |calls| {
                let executor = executor.clone();
                async move { executor.work(calls).await }
            },
        );
        Self { calls, settling, operations: metrics::operations(&ctx.metrics) }
    }

    /// Does what is asked, one answer for each change in their order.
    pub(crate) async fn operate(&self, changes: Vec<OperationRequest>) -> Result<Vec<Answer>, Error> {
        let tasks: Vec<Command> = changes.into_iter().map(Command::Change).collect();
        let mut answers = self.run(tasks.clone()).await?;
        let doubtful: Vec<usize> = (0..answers.len()).filter(|n| answers[*n].reply == Reply::InDoubt).collect();
        if !doubtful.is_empty() {
            self.ask_provider(&tasks, &answers, &doubtful).await;
            // Settled operations answer for themselves when they are asked for again.
            let again = doubtful.iter().map(|n| tasks[*n].clone()).collect();
            for (n, answer) in doubtful.into_iter().zip(self.run(again).await?) {
                answers[n] = answer;
            }
        }
        for (task, answer) in tasks.iter().zip(&answers) {
            if let Command::Change(change) = task {
                let outcome = match answer.reply {
                    Reply::Done => "done",
                    Reply::Refused(_) => "refused",
                    Reply::InDoubt => "in_doubt",
                    Reply::Invalid(_) => "invalid",
                };
                self.operations.with_label_values(&[change.action.op().as_str(), outcome]).inc();
            }
        }
        Ok(answers)
    }

    /// Puts tasks through the executor.
    pub(crate) async fn run(&self, tasks: Vec<Command>) -> Result<Vec<Answer>, Error> {
        self.calls.run(Arc::new(tasks)).await.map_err(|err| match err {
            batch::Error::Failed(err) => (*err).clone(),
            batch::Error::Stopped => Error::Stopping,
        })
    }

    async fn ask_provider(&self, tasks: &[Command], answers: &[Answer], doubtful: &[usize]) {
        let mut orders: BTreeMap<&OrderId, bool> = BTreeMap::new();
        for n in doubtful {
            *orders.entry(tasks[*n].order_id()).or_default() |= answers[*n].holds;
        }
        let mut drives = JoinSet::new();
        for (order_id, holds) in orders {
            let (queue, order_id) = (self.clone(), order_id.clone());
            let tracker = self.settling.tasks().clone();
            // Tracked, so that it goes on when the caller hangs up, and a stopping process waits for it.
            let drive = tracker.spawn(async move { resolver::drive(&queue, order_id, holds).await });
            drives.spawn(async move { drive.await.ok() });
        }
        let all = async { while drives.join_next().await.is_some() {} };
        // Past the caller's patience he hears "in doubt" and the drives go on without him.
        let _ = tokio::time::timeout(self.settling.patience(), all).await;
        drives.detach_all();
    }
}

/// Works off batches of calls, each as one transaction.
#[derive(Clone)]
struct Executor {
    db: Db,
    relay: Relay,
    provider: Provider,
    crash: chassis::CrashPoints,
    money: MoneyMetrics,
    lease: std::time::Duration,
    pause: std::time::Duration,
}

impl Executor {
    async fn work(&self, calls: Vec<Arc<Vec<Command>>>) -> Result<Vec<Vec<Answer>>, Error> {
        let all: Vec<&Command> = calls.iter().flat_map(|call| call.iter()).collect();
        let answers = match db::retry(|| self.transact(&all)).await {
            // What the schema refuses in one item must not fail the others of its call.
            Err(err) if calls.len() == 1 && all.len() > 1 && err.is_constraint() => {
                let mut answers = Vec::with_capacity(all.len());
                for task in &all {
                    answers.push(self.alone(task).await?);
                }
                answers
            }
            answers => answers?,
        };
        let mut answers = answers.into_iter();
        Ok(calls.iter().map(|call| answers.by_ref().take(call.len()).collect()).collect())
    }

    async fn alone(&self, task: &Command) -> Result<Answer, Error> {
        match self.transact(&[task]).await {
            Ok(mut answers) => answers.pop().ok_or(Error::Stopping),
            Err(err) if err.is_constraint() => {
                tracing::error!(order.id = %task.order_id(), error = %err, "the schema refused an operation");
                Ok(Answer {
                    reply: Reply::Invalid("it contradicts what is on the books".into()),
                    payment: None,
                    holds: false,
                })
            }
            Err(err) => Err(err),
        }
    }

    async fn transact(&self, tasks: &[&Command]) -> Result<Vec<Answer>, Error> {
        let mut tx = self.db.write().await?;
        let orders: BTreeSet<&str> = tasks.iter().map(|task| task.order_id().as_str()).collect();
        // By name, since a payment may not be there yet.
        tx.lock(orders.iter().map(|id| format!("order/{id}"))).await?;
        let books = store::payments::of_orders(&mut tx, &orders).await?;
        let balances = match &self.provider.local {
            None => SandboxBalances::default(),
            Some(sandbox) => {
                let payers = books.values().filter_map(|payment| payment.customer_id.as_ref());
                let payers = payers.chain(tasks.iter().filter_map(|task| match task {
                    Command::Change(OperationRequest { action: Action::Authorize(terms), .. }) => {
                        terms.customer_id.as_ref()
                    }
                    _ => None,
                }));
                sandbox.balances(&mut tx, payers).await?
            }
        };
        let fresh: BTreeSet<&str> = tasks
            .iter()
            .filter(|task| matches!(task, Command::Change(OperationRequest { action: Action::Authorize(_), .. })))
            .map(|task| task.order_id().as_str())
            .filter(|order_id| !books.contains_key(*order_id))
            .collect();
        let next_number = match i64::try_from(fresh.len()).unwrap_or(i64::MAX) {
            0 => 0,
            count => store::payments::take_numbers(&mut tx, count).await?,
        };
        let mut unit = UnitOfWork::open(&self.provider, self.lease, self.pause).with(books, balances, next_number);
        let answers: Vec<Answer> = tasks.iter().map(|task| unit.task(task)).collect();
        if unit.is_clean() {
            return Ok(answers);
        }
        let points = unit.crash_points();
        let moved = unit.save(&mut tx).await?;
        points.iter().for_each(|(before, _)| self.crash.reach(before));
        tx.commit().await?;
        points.iter().for_each(|(_, after)| self.crash.reach(after));
        self.money.count(&moved);
        self.relay.wake();
        Ok(answers)
    }
}
