//! What one transaction works on: payments loaded, judged and changed in memory, and what changed saved.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bus::NewEvent;
use commerce::{Amount, OrderId, PaymentId, Timestamp};

use crate::{
    clients::{Provider, SandboxBalances},
    commands::{Answer, Command, Reply},
    domain::{Decision, Op, OperationOutcome, OperationRequest, Payment, Resolution, decide, record, resolve},
    error::Error,
    events,
    metrics::MovedMoney,
    store,
};

/// The books of one transaction.
pub(crate) struct UnitOfWork<'a> {
    provider: &'a Provider,
    lease: Duration,
    pause: Duration,
    now: Timestamp,
    books: HashMap<String, Payment>,
    balances: SandboxBalances,
    next_number: i64,
    /// Operations that are new or changed, by order and place.
    touched: BTreeSet<(String, usize)>,
    /// Payments of which only the claim changed.
    claimed: BTreeSet<String>,
    events: Vec<NewEvent>,
    moved: Vec<MovedMoney>,
}

impl<'a> UnitOfWork<'a> {
    /// An empty unit, written now.
    pub(crate) fn open(provider: &'a Provider, lease: Duration, pause: Duration) -> Self {
        Self {
            provider,
            lease,
            pause,
            now: Timestamp::now(),
            books: HashMap::new(),
            balances: SandboxBalances::default(),
            next_number: 0,
            touched: BTreeSet::new(),
            claimed: BTreeSet::new(),
            events: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// The same unit with what was loaded for it.
    pub(crate) fn with(mut self, books: HashMap<String, Payment>, balances: SandboxBalances, next_number: i64) -> Self {
        self.books = books;
        self.balances = balances;
        self.next_number = next_number;
        self
    }

    /// Does one task.
    pub(crate) fn task(&mut self, task: &Command) -> Answer {
        match task {
            Command::Change(change) => self.change(change),
            Command::Claim(order_id) => self.claim(order_id),
            Command::Settle { order_id, op, op_id, resolution } => {
                self.settle(order_id, *op, op_id, resolution.clone());
                self.answer(order_id, Reply::Done, false)
            }
        }
    }

    fn change(&mut self, change: &OperationRequest) -> Answer {
        let order_id = &change.order_id;
        let known = self.books.get(order_id.as_str());
        match decide(known, change) {
            Decision::Repeat(index) => {
                let reply = known.map_or(Reply::InDoubt, |payment| reply_of(payment, index));
                self.answer(order_id, reply, false)
            }
            Decision::Invalid(why) => self.answer(order_id, Reply::Invalid(why), false),
            Decision::TooLate(why) => self.answer(order_id, Reply::Refused(why), false),
            Decision::Resolved(resolution) => {
                let index = self.record(change);
                self.resolve(order_id.as_str(), index, resolution)
            }
            Decision::Wait => {
                self.record(change);
                self.answer(order_id, Reply::InDoubt, false)
            }
            Decision::Ask(request) => {
                let index = self.record(change);
                match &self.provider.local {
                    Some(sandbox) => {
                        let payer = self.books.get(order_id.as_str()).and_then(|p| p.customer_id.clone());
                        let resolution = sandbox.decide(&mut self.balances, payer.as_ref(), request);
                        self.resolve(order_id.as_str(), index, resolution)
                    }
                    None => self.claim(order_id),
                }
            }
        }
    }

    /// Takes a payment in doubt in hand, unless somebody has it.
    fn claim(&mut self, order_id: &OrderId) -> Answer {
        let now = self.now;
        let lease = self.lease;
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

    fn settle(&mut self, order_id: &OrderId, op: Op, op_id: &str, resolution: Option<Resolution>) {
        let Some(payment) = self.books.get_mut(order_id.as_str()) else {
            return;
        };
        // Somebody else's lease may have led to the same answer before.
        let Some(index) =
            payment.find(op, op_id).filter(|index| payment.operations[*index].outcome == OperationOutcome::InDoubt)
        else {
            return;
        };
        self.claimed.insert(order_id.as_str().to_owned());
        match resolution {
            None => payment.claimed_until = self.now.plus(self.pause),
            Some(resolution) => {
                self.resolve(order_id.as_str(), index, resolution);
                let settled = self.books.get_mut(order_id.as_str());
                if let Some(payment) = settled.filter(|payment| payment.first_in_doubt().is_none()) {
                    payment.claimed_until = self.now;
                }
            }
        }
    }

    fn record(&mut self, change: &OperationRequest) -> usize {
        let order_id = change.order_id.as_str();
        let mut payment = self.books.remove(order_id);
        let begins = payment.is_none();
        let index = record(&mut payment, change, self.now, PaymentId::new);
        if let Some(mut payment) = payment {
            if begins && !payment.is_tombstone() {
                payment.number = Some(self.next_number);
                self.next_number += 1;
            }
            self.books.insert(order_id.to_owned(), payment);
        }
        self.touched.insert((order_id.to_owned(), index));
        index
    }

    fn resolve(&mut self, order_id: &str, index: usize, resolution: Resolution) -> Answer {
        let Some(payment) = self.books.get_mut(order_id) else {
            return Answer { reply: Reply::InDoubt, payment: None, holds: false };
        };
        self.touched.insert((order_id.to_owned(), index));
        let before = (payment.captured, payment.refunded);
        let event = resolve(payment, index, resolution, self.now);
        let more = |now: Amount, before: Amount| Amount::from_minor(now.minor() - before.minor());
        self.moved.push(MovedMoney {
            currency: payment.currency,
            taken: more(payment.captured, before.0),
            given_back: more(payment.refunded, before.1),
        });
        if let Some(event) = event {
            self.events.push(events::event(payment, index, event));
        }
        Answer { reply: reply_of(payment, index), payment: visible(payment), holds: false }
    }

    fn answer(&self, order_id: &OrderId, reply: Reply, holds: bool) -> Answer {
        Answer { reply, payment: self.books.get(order_id.as_str()).and_then(visible), holds }
    }

    /// Whether nothing has to be saved.
    pub(crate) fn is_clean(&self) -> bool {
        self.touched.is_empty() && self.claimed.is_empty()
    }

    /// Writes what changed, and what is told of it. Gives the money that moved, should it become durable.
    pub(crate) async fn save(self, tx: &mut db::Tx) -> Result<Vec<MovedMoney>, Error> {
        let orders: BTreeSet<&str> = self
            .touched
            .iter()
            .map(|(order_id, _)| order_id.as_str())
            .chain(self.claimed.iter().map(String::as_str))
            .collect();
        let payments: Vec<&Payment> = orders.iter().filter_map(|id| self.books.get(*id)).collect();
        let operations: Vec<(&Payment, usize)> =
            self.touched.iter().filter_map(|(order_id, index)| Some((self.books.get(order_id)?, *index))).collect();
        store::payments::save(tx, &payments, &operations).await?;
        self.balances.save(tx).await?;
        bus::outbox::append(tx, crate::NAME, self.events).await?;
        Ok(self.moved)
    }

    /// The crash points of the kinds of operation that are about to become durable.
    pub(crate) fn crash_points(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.touched
            .iter()
            .filter_map(|(order_id, index)| self.books.get(order_id)?.operations.get(*index))
            .filter_map(|operation| match operation.op {
                Op::Authorize => Some(("payment.authorize.before_commit", "payment.authorize.after_commit")),
                Op::Void => Some(("payment.void.before_commit", "payment.void.after_commit")),
                Op::Refund => Some(("payment.refund.before_commit", "payment.refund.after_commit")),
                Op::Capture => None,
            })
            .collect()
    }
}

fn visible(payment: &Payment) -> Option<Payment> {
    (!payment.is_tombstone()).then(|| payment.clone())
}

fn reply_of(payment: &Payment, index: usize) -> Reply {
    let operation = &payment.operations[index];
    match operation.outcome {
        OperationOutcome::Done => Reply::Done,
        OperationOutcome::Refused => Reply::Refused(operation.reason.clone()),
        OperationOutcome::InDoubt => Reply::InDoubt,
    }
}
