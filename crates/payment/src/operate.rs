//! Operations on money, many at once: what concurrent callers ask for is one transaction, in which the rules
//! judge each operation in turn. A local provider decides in there too; for a foreign one the intent is
//! written, and [`crate::settle`] goes and asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use batch::Batcher;
use bus::{NewEvent, Relay};
use chassis::Context;
use commerce::{OrderId, PaymentId, Timestamp};
use db::Db;
use tokio::task::JoinSet;

use crate::{
    clients::{Provider, Purses},
    domain::{Act, Change, Judgement, Op, Outcome, Payment, Verdict, conclude, judge, record},
    error::Error,
    events, metrics,
    settle::{self, Settling},
    store,
};

/// Most calls that share a transaction.
const MOST_CALLS: usize = 256;

/// One thing to do to one order's payment.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// What a caller asks for.
    Change(Change),
    /// Take the payment in hand, to talk to the provider about it.
    Claim(OrderId),
    /// Write down what the provider said; nothing if it did not answer.
    Settle {
        order_id: OrderId,
        op: Op,
        op_id: String,
        verdict: Option<Verdict>,
    },
}

impl Task {
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

type Calls = Batcher<Arc<Vec<Task>>, Vec<Answer>, Error>;

/// Where operations are put in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Till {
    calls: Calls,
    pub(crate) settling: Settling,
    operations: prometheus::IntCounterVec,
}

impl Till {
    /// Opens the till.
    pub(crate) fn open(
        ctx: &Context,
        db: &Db,
        relay: Relay,
        provider: Provider,
        settling: Settling,
    ) -> Self {
        let desk = Desk {
            db: db.clone(),
            relay,
            provider,
            crash: ctx.crash.clone(),
            lease: settling.lease(),
            pause: settling.pause(),
        };
        let calls = Batcher::start(&ctx.tasks, MOST_CALLS, move |calls| {
            let desk = desk.clone();
            async move { desk.work(calls).await }
        });
        Self {
            calls,
            settling,
            operations: ctx.metrics.counter(
                metrics::OPERATIONS,
                metrics::OPERATIONS_HELP,
                &["op", "outcome"],
            ),
        }
    }

    /// Does what is asked, one answer for each change in their order.
    pub(crate) async fn operate(&self, changes: Vec<Change>) -> Result<Vec<Answer>, Error> {
        let tasks: Vec<Task> = changes.into_iter().map(Task::Change).collect();
        let mut answers = self.run(tasks.clone()).await?;
        let doubtful: Vec<usize> = (0..answers.len())
            .filter(|n| answers[*n].reply == Reply::InDoubt)
            .collect();
        if !doubtful.is_empty() {
            self.ask_provider(&tasks, &answers, &doubtful).await;
            // Settled operations answer for themselves when they are asked for again.
            let again = doubtful.iter().map(|n| tasks[*n].clone()).collect();
            for (n, answer) in doubtful.into_iter().zip(self.run(again).await?) {
                answers[n] = answer;
            }
        }
        for (task, answer) in tasks.iter().zip(&answers) {
            if let Task::Change(change) = task {
                let outcome = match answer.reply {
                    Reply::Done => "done",
                    Reply::Refused(_) => "refused",
                    Reply::InDoubt => "in_doubt",
                    Reply::Invalid(_) => "invalid",
                };
                self.operations
                    .with_label_values(&[change.act.op().as_str(), outcome])
                    .inc();
            }
        }
        Ok(answers)
    }

    /// Puts tasks through the desk.
    pub(crate) async fn run(&self, tasks: Vec<Task>) -> Result<Vec<Answer>, Error> {
        self.calls
            .run(Arc::new(tasks))
            .await
            .map_err(|err| match err {
                batch::Error::Failed(err) => (*err).clone(),
                batch::Error::Stopped => Error::Stopping,
            })
    }

    async fn ask_provider(&self, tasks: &[Task], answers: &[Answer], doubtful: &[usize]) {
        let mut orders: BTreeMap<&OrderId, bool> = BTreeMap::new();
        for n in doubtful {
            *orders.entry(tasks[*n].order_id()).or_default() |= answers[*n].holds;
        }
        let mut drives = JoinSet::new();
        for (order_id, holds) in orders {
            let (till, order_id) = (self.clone(), order_id.clone());
            let tracker = self.settling.tasks().clone();
            // Tracked, so that it goes on when the caller hangs up, and a stopping process waits for it.
            let drive = tracker.spawn(async move { settle::drive(&till, order_id, holds).await });
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
struct Desk {
    db: Db,
    relay: Relay,
    provider: Provider,
    crash: chassis::CrashPoints,
    lease: std::time::Duration,
    pause: std::time::Duration,
}

impl Desk {
    async fn work(&self, calls: Vec<Arc<Vec<Task>>>) -> Result<Vec<Vec<Answer>>, Error> {
        let all: Vec<&Task> = calls.iter().flat_map(|call| call.iter()).collect();
        let answers = match self.transact(&all).await {
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
        Ok(calls
            .iter()
            .map(|call| answers.by_ref().take(call.len()).collect())
            .collect())
    }

    async fn alone(&self, task: &Task) -> Result<Answer, Error> {
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

    async fn transact(&self, tasks: &[&Task]) -> Result<Vec<Answer>, Error> {
        let mut tx = self.db.write().await?;
        let orders: BTreeSet<&str> = tasks.iter().map(|task| task.order_id().as_str()).collect();
        let books = store::payments::of_orders(&mut tx, &orders).await?;
        let purses = match &self.provider.local {
            None => Purses::default(),
            Some(sandbox) => {
                let payers = books
                    .values()
                    .filter_map(|payment| payment.customer_id.as_ref());
                let payers = payers.chain(tasks.iter().filter_map(|task| match task {
                    Task::Change(Change {
                        act: Act::Authorize(terms),
                        ..
                    }) => terms.customer_id.as_ref(),
                    _ => None,
                }));
                sandbox.purses(&mut tx, payers).await?
            }
        };
        let fresh: BTreeSet<&str> = tasks
            .iter()
            .filter(|task| {
                matches!(
                    task,
                    Task::Change(Change {
                        act: Act::Authorize(_),
                        ..
                    })
                )
            })
            .map(|task| task.order_id().as_str())
            .filter(|order_id| !books.contains_key(*order_id))
            .collect();
        let next_number = match i64::try_from(fresh.len()).unwrap_or(i64::MAX) {
            0 => 0,
            count => store::payments::take_numbers(&mut tx, count).await?,
        };
        let mut page = Page {
            desk: self,
            now: Timestamp::now(),
            books,
            purses,
            next_number,
            touched: BTreeSet::new(),
            claimed: BTreeSet::new(),
            events: Vec::new(),
        };
        let answers: Vec<Answer> = tasks.iter().map(|task| page.task(task)).collect();
        if page.is_clean() {
            return Ok(answers);
        }
        let points = page.crash_points();
        page.save(&mut tx).await?;
        points
            .iter()
            .for_each(|(before, _)| self.crash.reach(before));
        tx.commit().await?;
        points.iter().for_each(|(_, after)| self.crash.reach(after));
        self.relay.wake();
        Ok(answers)
    }
}

/// The books of one transaction.
struct Page<'a> {
    desk: &'a Desk,
    now: Timestamp,
    books: HashMap<String, Payment>,
    purses: Purses,
    next_number: i64,
    /// Operations that are new or changed, by order and place.
    touched: BTreeSet<(String, usize)>,
    /// Payments of which only the claim changed.
    claimed: BTreeSet<String>,
    events: Vec<NewEvent>,
}

impl Page<'_> {
    fn task(&mut self, task: &Task) -> Answer {
        match task {
            Task::Change(change) => self.change(change),
            Task::Claim(order_id) => self.claim(order_id),
            Task::Settle {
                order_id,
                op,
                op_id,
                verdict,
            } => {
                self.settle(order_id, *op, op_id, verdict.clone());
                self.answer(order_id, Reply::Done, false)
            }
        }
    }

    fn change(&mut self, change: &Change) -> Answer {
        let order_id = &change.order_id;
        let known = self.books.get(order_id.as_str());
        match judge(known, change) {
            Judgement::Repeat(place) => {
                let reply = known.map_or(Reply::InDoubt, |payment| reply_of(payment, place));
                self.answer(order_id, reply, false)
            }
            Judgement::Invalid(why) => self.answer(order_id, Reply::Invalid(why), false),
            Judgement::TooLate(why) => self.answer(order_id, Reply::Refused(why), false),
            Judgement::Decided(verdict) => {
                let place = self.record(change);
                self.conclude(order_id.as_str(), place, verdict)
            }
            Judgement::Wait => {
                self.record(change);
                self.answer(order_id, Reply::InDoubt, false)
            }
            Judgement::Ask(demand) => {
                let place = self.record(change);
                match &self.desk.provider.local {
                    Some(sandbox) => {
                        let payer = self
                            .books
                            .get(order_id.as_str())
                            .and_then(|p| p.customer_id.clone());
                        let verdict = sandbox.decide(&mut self.purses, payer.as_ref(), demand);
                        self.conclude(order_id.as_str(), place, verdict)
                    }
                    None => self.claim(order_id),
                }
            }
        }
    }

    /// Takes a payment in doubt in hand, unless somebody has it.
    fn claim(&mut self, order_id: &OrderId) -> Answer {
        let now = self.now;
        let lease = self.desk.lease;
        let holds = self
            .books
            .get_mut(order_id.as_str())
            .filter(|payment| payment.first_in_doubt().is_some() && payment.claimed_until <= now)
            .map(|payment| payment.claimed_until = now.plus(lease))
            .is_some();
        if holds {
            self.claimed.insert(order_id.as_str().to_owned());
        }
        self.answer(order_id, Reply::InDoubt, holds)
    }

    fn settle(&mut self, order_id: &OrderId, op: Op, op_id: &str, verdict: Option<Verdict>) {
        let Some(payment) = self.books.get_mut(order_id.as_str()) else {
            return;
        };
        // Somebody else's lease may have led to the same answer before.
        let Some(place) = payment
            .find(op, op_id)
            .filter(|place| payment.operations[*place].outcome == Outcome::InDoubt)
        else {
            return;
        };
        self.claimed.insert(order_id.as_str().to_owned());
        match verdict {
            None => payment.claimed_until = self.now.plus(self.desk.pause),
            Some(verdict) => {
                self.conclude(order_id.as_str(), place, verdict);
                let settled = self.books.get_mut(order_id.as_str());
                if let Some(payment) = settled.filter(|payment| payment.first_in_doubt().is_none())
                {
                    payment.claimed_until = self.now;
                }
            }
        }
    }

    fn record(&mut self, change: &Change) -> usize {
        let order_id = change.order_id.as_str();
        let mut payment = self.books.remove(order_id);
        let begins = payment.is_none();
        let place = record(&mut payment, change, self.now, PaymentId::new);
        if let Some(mut payment) = payment {
            if begins && !payment.is_tombstone() {
                payment.number = Some(self.next_number);
                self.next_number += 1;
            }
            self.books.insert(order_id.to_owned(), payment);
        }
        self.touched.insert((order_id.to_owned(), place));
        place
    }

    fn conclude(&mut self, order_id: &str, place: usize, verdict: Verdict) -> Answer {
        let Some(payment) = self.books.get_mut(order_id) else {
            return Answer {
                reply: Reply::InDoubt,
                payment: None,
                holds: false,
            };
        };
        self.touched.insert((order_id.to_owned(), place));
        if let Some(happening) = conclude(payment, place, verdict, self.now) {
            self.events.push(events::event(payment, place, happening));
        }
        Answer {
            reply: reply_of(payment, place),
            payment: visible(payment),
            holds: false,
        }
    }

    fn answer(&self, order_id: &OrderId, reply: Reply, holds: bool) -> Answer {
        Answer {
            reply,
            payment: self.books.get(order_id.as_str()).and_then(visible),
            holds,
        }
    }

    fn is_clean(&self) -> bool {
        self.touched.is_empty() && self.claimed.is_empty()
    }

    async fn save(self, tx: &mut db::Tx) -> Result<(), Error> {
        let orders: BTreeSet<&str> = self
            .touched
            .iter()
            .map(|(order_id, _)| order_id.as_str())
            .chain(self.claimed.iter().map(String::as_str))
            .collect();
        let payments: Vec<&Payment> = orders.iter().filter_map(|id| self.books.get(*id)).collect();
        let operations: Vec<(&Payment, usize)> = self
            .touched
            .iter()
            .filter_map(|(order_id, place)| Some((self.books.get(order_id)?, *place)))
            .collect();
        store::payments::save(tx, &payments, &operations).await?;
        self.purses.save(tx).await?;
        bus::outbox::append(tx, crate::NAME, self.events).await?;
        Ok(())
    }

    /// The crash points of the kinds of operation that are about to become durable.
    fn crash_points(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.touched
            .iter()
            .filter_map(|(order_id, place)| self.books.get(order_id)?.operations.get(*place))
            .filter_map(|operation| match operation.op {
                Op::Authorize => Some((
                    "payment.authorize.before_commit",
                    "payment.authorize.after_commit",
                )),
                Op::Void => Some(("payment.void.before_commit", "payment.void.after_commit")),
                Op::Refund => Some((
                    "payment.refund.before_commit",
                    "payment.refund.after_commit",
                )),
                Op::Capture => None,
            })
            .collect()
    }
}

fn visible(payment: &Payment) -> Option<Payment> {
    (!payment.is_tombstone()).then(|| payment.clone())
}

fn reply_of(payment: &Payment, place: usize) -> Reply {
    let operation = &payment.operations[place];
    match operation.outcome {
        Outcome::Done => Reply::Done,
        Outcome::Refused => Reply::Refused(operation.reason.clone()),
        Outcome::InDoubt => Reply::InDoubt,
    }
}
