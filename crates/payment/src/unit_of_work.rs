//! The unit of work of one transaction: payments are loaded, decided and changed in memory, and what changed is saved.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bus::NewEvent;
use commerce::{Amount, OrderId, PaymentId, Timestamp};

use crate::{
    clients::{Provider, SandboxBalances},
    commands::{Claim, Command, Outcome, Reply, ReplyOutcome},
    domain::{Decision, Op, OperationOutcome, OperationRequest, Payment, Resolution, decide, record, resolve},
    error::Error,
    events,
    metrics::MovedMoney,
    store,
};

/// What one transaction has loaded and changed.
pub(crate) struct UnitOfWork<'a> {
    provider: &'a Provider,
    lease: Duration,
    pause: Duration,
    now: Timestamp,
    payments: HashMap<String, Payment>,
    balances: SandboxBalances,
    next_number: i64,
    /// Operations that are new or changed, by order and index.
    changed_operations: BTreeSet<(String, usize)>,
    /// Payments of which only the claim changed.
    changed_claims: BTreeSet<String>,
    events: Vec<NewEvent>,
    moved: Vec<MovedMoney>,
}

impl<'a> UnitOfWork<'a> {
    /// An empty unit of work at this time.
    pub(crate) fn new(provider: &'a Provider, lease: Duration, pause: Duration, now: Timestamp) -> Self {
        Self {
            provider,
            lease,
            pause,
            now,
            payments: HashMap::new(),
            balances: SandboxBalances::default(),
            next_number: 0,
            changed_operations: BTreeSet::new(),
            changed_claims: BTreeSet::new(),
            events: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Sets what was loaded. `next_number` is the first of as many numbers as the commands can create payments.
    pub(crate) fn with(
        mut self,
        payments: HashMap<String, Payment>,
        balances: SandboxBalances,
        next_number: i64,
    ) -> Self {
        self.payments = payments;
        self.balances = balances;
        self.next_number = next_number;
        self
    }

    /// Applies one command.
    pub(crate) fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Operate(request) => Outcome::Operated(self.operate(request)),
            Command::Claim(order_id) => Outcome::Claimed(self.claim(order_id)),
            Command::Resolve { order_id, op, op_id, resolution } => {
                self.resolve_in_doubt(order_id, *op, op_id, resolution.clone());
                Outcome::Resolved
            }
        }
    }

    fn operate(&mut self, request: &OperationRequest) -> Reply {
        let order_id = &request.order_id;
        let known = self.payments.get(order_id.as_str());
        match decide(known, request) {
            Decision::Repeat(index) => {
                let outcome = known.map_or(ReplyOutcome::InDoubt, |payment| outcome_of(payment, index));
                self.reply(order_id, outcome)
            }
            Decision::Invalid(why) => self.reply(order_id, ReplyOutcome::Invalid(why)),
            Decision::TooLate(why) => self.reply(order_id, ReplyOutcome::Refused(why)),
            Decision::Resolved(resolution) => {
                let index = self.record(request);
                self.resolve(order_id, index, resolution)
            }
            Decision::Wait => {
                self.record(request);
                self.reply(order_id, ReplyOutcome::InDoubt)
            }
            Decision::Ask(provider_request) => {
                let index = self.record(request);
                match &self.provider.local {
                    Some(sandbox) => {
                        let payer = self.payments.get(order_id.as_str()).and_then(|p| p.customer_id.clone());
                        let resolution = sandbox.decide(&mut self.balances, payer.as_ref(), provider_request);
                        self.resolve(order_id, index, resolution)
                    }
                    None => {
                        let claim = self.claim(order_id);
                        Reply { claim, ..self.reply(order_id, ReplyOutcome::InDoubt) }
                    }
                }
            }
        }
    }

    /// Claims a payment in doubt, unless it is claimed already.
    fn claim(&mut self, order_id: &OrderId) -> Claim {
        let latest = self.now.latest_deadline(self.lease.max(self.pause));
        let claimed = |until: Timestamp| until > self.now && until <= latest;
        let free = |payment: &&mut Payment| payment.first_in_doubt().is_some() && !claimed(payment.claimed_until);
        let Some(payment) = self.payments.get_mut(order_id.as_str()).filter(free) else {
            return Claim::NotAcquired;
        };
        payment.claimed_until = self.now.plus(self.lease);
        self.changed_claims.insert(order_id.as_str().to_owned());
        Claim::Acquired
    }

    fn resolve_in_doubt(&mut self, order_id: &OrderId, op: Op, op_id: &str, resolution: Option<Resolution>) {
        let Some(payment) = self.payments.get_mut(order_id.as_str()) else {
            return;
        };
        // Another replica may have resolved it after the lease had ended.
        let Some(index) =
            payment.find(op, op_id).filter(|index| payment.operations[*index].outcome == OperationOutcome::InDoubt)
        else {
            return;
        };
        self.changed_claims.insert(order_id.as_str().to_owned());
        match resolution {
            None => payment.claimed_until = self.now.plus(self.pause),
            Some(resolution) => {
                self.resolve(order_id, index, resolution);
                let resolved = self.payments.get_mut(order_id.as_str());
                if let Some(payment) = resolved.filter(|payment| payment.first_in_doubt().is_none()) {
                    payment.claimed_until = self.now;
                }
            }
        }
    }

    fn record(&mut self, request: &OperationRequest) -> usize {
        let order_id = request.order_id.as_str();
        let mut payment = self.payments.remove(order_id);
        let is_new = payment.is_none();
        let index = record(&mut payment, request, self.now, PaymentId::new);
        if let Some(mut payment) = payment {
            if is_new && !payment.is_tombstone() {
                payment.number = Some(self.next_number);
                self.next_number += 1;
            }
            self.payments.insert(order_id.to_owned(), payment);
        }
        self.changed_operations.insert((order_id.to_owned(), index));
        index
    }

    fn resolve(&mut self, order_id: &OrderId, index: usize, resolution: Resolution) -> Reply {
        let Some(payment) = self.payments.get_mut(order_id.as_str()) else {
            return self.reply(order_id, ReplyOutcome::InDoubt);
        };
        self.changed_operations.insert((order_id.as_str().to_owned(), index));
        let before = (payment.captured, payment.refunded);
        let event = resolve(payment, index, resolution, self.now);
        let increase = |now: Amount, before: Amount| Amount::from_minor(now.minor() - before.minor());
        self.moved.push(MovedMoney {
            currency: payment.currency,
            taken: increase(payment.captured, before.0),
            given_back: increase(payment.refunded, before.1),
        });
        if let Some(event) = event {
            self.events.push(events::event(payment, index, event));
        }
        let outcome = outcome_of(payment, index);
        self.reply(order_id, outcome)
    }

    /// A reply without a claim.
    fn reply(&self, order_id: &OrderId, outcome: ReplyOutcome) -> Reply {
        let payment = self.payments.get(order_id.as_str()).filter(|payment| !payment.is_tombstone()).cloned();
        Reply { outcome, payment, claim: Claim::NotAcquired }
    }

    /// Whether nothing has to be saved.
    pub(crate) fn is_clean(&self) -> bool {
        self.changed_operations.is_empty() && self.changed_claims.is_empty()
    }

    /// Saves what changed together with its events. Returns the money that has moved once the transaction is committed.
    pub(crate) async fn save(self, tx: &mut db::Tx) -> Result<Vec<MovedMoney>, Error> {
        let orders: BTreeSet<&str> = self
            .changed_operations
            .iter()
            .map(|(order_id, _)| order_id.as_str())
            .chain(self.changed_claims.iter().map(String::as_str))
            .collect();
        let payments: Vec<&Payment> = orders.iter().filter_map(|id| self.payments.get(*id)).collect();
        let operations: Vec<(&Payment, usize)> = self
            .changed_operations
            .iter()
            .filter_map(|(order_id, index)| Some((self.payments.get(order_id)?, *index)))
            .collect();
        store::payments::save(tx, &payments, &operations).await?;
        self.balances.save(tx).await?;
        bus::outbox::append(tx, crate::NAME, self.events).await?;
        Ok(self.moved)
    }

    /// The crash points of the kinds of operation that are about to become durable.
    pub(crate) fn crash_points(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.changed_operations
            .iter()
            .filter_map(|(order_id, index)| self.payments.get(order_id)?.operations.get(*index))
            .filter_map(|operation| match operation.op {
                Op::Authorize => Some(("payment.authorize.before_commit", "payment.authorize.after_commit")),
                Op::Void => Some(("payment.void.before_commit", "payment.void.after_commit")),
                Op::Refund => Some(("payment.refund.before_commit", "payment.refund.after_commit")),
                Op::Capture => None,
            })
            .collect()
    }
}

fn outcome_of(payment: &Payment, index: usize) -> ReplyOutcome {
    let operation = &payment.operations[index];
    match operation.outcome {
        OperationOutcome::Done => ReplyOutcome::Done,
        OperationOutcome::Refused => ReplyOutcome::Refused(operation.reason.clone()),
        OperationOutcome::InDoubt => ReplyOutcome::InDoubt,
    }
}
