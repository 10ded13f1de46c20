//! What one transaction works on: payments loaded, judged and changed in memory, and what changed saved.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bus::NewEvent;
use commerce::{Amount, OrderId, PaymentId, Timestamp};

use crate::{
    clients::{Provider, Purses},
    domain::{Change, Judgement, Op, Outcome, Payment, Verdict, conclude, judge, record},
    error::Error,
    events,
    metrics::Moved,
    operate::{Answer, Reply, Task},
    store,
};

/// The books of one transaction.
pub(crate) struct Page<'a> {
    provider: &'a Provider,
    lease: Duration,
    pause: Duration,
    now: Timestamp,
    books: HashMap<String, Payment>,
    purses: Purses,
    next_number: i64,
    /// Operations that are new or changed, by order and place.
    touched: BTreeSet<(String, usize)>,
    /// Payments of which only the claim changed.
    claimed: BTreeSet<String>,
    events: Vec<NewEvent>,
    moved: Vec<Moved>,
}

impl<'a> Page<'a> {
    /// An empty page, written now.
    pub(crate) fn open(provider: &'a Provider, lease: Duration, pause: Duration) -> Self {
        Self {
            provider,
            lease,
            pause,
            now: Timestamp::now(),
            books: HashMap::new(),
            purses: Purses::default(),
            next_number: 0,
            touched: BTreeSet::new(),
            claimed: BTreeSet::new(),
            events: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// The same page with what was loaded for it.
    pub(crate) fn with(mut self, books: HashMap<String, Payment>, purses: Purses, next_number: i64) -> Self {
        self.books = books;
        self.purses = purses;
        self.next_number = next_number;
        self
    }

    /// Does one task.
    pub(crate) fn task(&mut self, task: &Task) -> Answer {
        match task {
            Task::Change(change) => self.change(change),
            Task::Claim(order_id) => self.claim(order_id),
            Task::Settle { order_id, op, op_id, verdict } => {
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
                match &self.provider.local {
                    Some(sandbox) => {
                        let payer = self.books.get(order_id.as_str()).and_then(|p| p.customer_id.clone());
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

    fn settle(&mut self, order_id: &OrderId, op: Op, op_id: &str, verdict: Option<Verdict>) {
        let Some(payment) = self.books.get_mut(order_id.as_str()) else {
            return;
        };
        // Somebody else's lease may have led to the same answer before.
        let Some(place) =
            payment.find(op, op_id).filter(|place| payment.operations[*place].outcome == Outcome::InDoubt)
        else {
            return;
        };
        self.claimed.insert(order_id.as_str().to_owned());
        match verdict {
            None => payment.claimed_until = self.now.plus(self.pause),
            Some(verdict) => {
                self.conclude(order_id.as_str(), place, verdict);
                let settled = self.books.get_mut(order_id.as_str());
                if let Some(payment) = settled.filter(|payment| payment.first_in_doubt().is_none()) {
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
            return Answer { reply: Reply::InDoubt, payment: None, holds: false };
        };
        self.touched.insert((order_id.to_owned(), place));
        let before = (payment.captured, payment.refunded);
        let happening = conclude(payment, place, verdict, self.now);
        let more = |now: Amount, before: Amount| Amount::from_minor(now.minor() - before.minor());
        self.moved.push(Moved {
            currency: payment.currency,
            taken: more(payment.captured, before.0),
            given_back: more(payment.refunded, before.1),
        });
        if let Some(happening) = happening {
            self.events.push(events::event(payment, place, happening));
        }
        Answer { reply: reply_of(payment, place), payment: visible(payment), holds: false }
    }

    fn answer(&self, order_id: &OrderId, reply: Reply, holds: bool) -> Answer {
        Answer { reply, payment: self.books.get(order_id.as_str()).and_then(visible), holds }
    }

    /// Whether nothing has to be saved.
    pub(crate) fn is_clean(&self) -> bool {
        self.touched.is_empty() && self.claimed.is_empty()
    }

    /// Writes what changed, and what is told of it. Gives the money that moved, should it become durable.
    pub(crate) async fn save(self, tx: &mut db::Tx) -> Result<Vec<Moved>, Error> {
        let orders: BTreeSet<&str> = self
            .touched
            .iter()
            .map(|(order_id, _)| order_id.as_str())
            .chain(self.claimed.iter().map(String::as_str))
            .collect();
        let payments: Vec<&Payment> = orders.iter().filter_map(|id| self.books.get(*id)).collect();
        let operations: Vec<(&Payment, usize)> =
            self.touched.iter().filter_map(|(order_id, place)| Some((self.books.get(order_id)?, *place))).collect();
        store::payments::save(tx, &payments, &operations).await?;
        self.purses.save(tx).await?;
        bus::outbox::append(tx, crate::NAME, self.events).await?;
        Ok(self.moved)
    }

    /// The crash points of the kinds of operation that are about to become durable.
    pub(crate) fn crash_points(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.touched
            .iter()
            .filter_map(|(order_id, place)| self.books.get(order_id)?.operations.get(*place))
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

fn reply_of(payment: &Payment, place: usize) -> Reply {
    let operation = &payment.operations[place];
    match operation.outcome {
        Outcome::Done => Reply::Done,
        Outcome::Refused => Reply::Refused(operation.reason.clone()),
        Outcome::InDoubt => Reply::InDoubt,
    }
}
