//! Movements of stock, many at once: what concurrent callers ask for is one transaction, in which the rules
//! decide each thing in turn. Order events take the same way, with the inbox in the same transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use batch::Batcher;
use bus::{Event, Relay};
use chassis::{Context, CrashPoints};
use commerce::{Id, OrderId, PlaceId, ProductId, Timestamp};
use db::{Db, Tx};

use crate::{
    domain::{Adjustment, AdjustmentRequest, DomainEvent, Level, ReservationState, Reserved, StockKey, UnitOfWork},
    error::Error,
    events,
    store::{
        self,
        idempotency::KeyedRequest,
        unit_of_work::{self, LoadSet},
    },
};

/// Most calls that share a transaction.
const MAX_CALLS: usize = 256;
/// Who moves stock when no person does.
pub(crate) const SYSTEM: &str = "souk";

/// One thing to do.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Set goods aside.
    Reserve { order_id: OrderId, place_id: PlaceId, lines: BTreeMap<ProductId, i64> },
    /// Give them back.
    Release(OrderId),
    /// Turn them into a sale.
    Commit(OrderId),
    /// The order is cancelled, whatever it has.
    Cancel(OrderId),
    /// Sold goods came back.
    Restock { order_id: OrderId, lines: BTreeMap<ProductId, i64>, reason: String },
    /// Ask again later whether a reservation is wanted.
    ExtendHold(OrderId, Duration),
    /// Put in and take out by hand, all or nothing; with the key under which the answer is remembered.
    Adjust(Vec<AdjustmentRequest>, Option<KeyedRequest>),
    /// Put in or take out what makes so much available.
    Available { key: StockKey, available: i64, reason: String, actor: String },
    /// Below how many available people are told.
    Threshold(StockKey, Option<i64>),
}

/// What became of a task.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Reserved(Reserved),
    /// Where the order's stock stands; nothing where it never had any.
    Reservation(Option<ReservationState>),
    /// What could not be put back.
    Restocked(Vec<(ProductId, i64)>),
    HoldExtended,
    Adjusted(Result<Vec<Adjustment>, Error>),
    /// The level as it is now.
    Threshold(Result<Level, Error>),
}

type Calls = Batcher<Arc<Vec<Command>>, Vec<Outcome>, Error>;

/// Where tasks are put in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StockQueue {
    calls: Calls,
}

impl StockQueue {
    /// Opens the queue.
    pub(crate) fn open(ctx: &Context, executor: Executor) -> Self {
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
        Self { calls }
    }

    /// Does what is asked, one answer for each task in their order.
    pub(crate) async fn run(&self, tasks: Vec<Command>) -> Result<Vec<Outcome>, Error> {
        self.calls.run(Arc::new(tasks)).await.map_err(|err| match err {
            batch::Error::Failed(err) => (*err).clone(),
            batch::Error::Stopped => Error::Stopping,
        })
    }

    /// Does one thing.
    pub(crate) async fn one(&self, task: Command) -> Result<Outcome, Error> {
        self.run(vec![task]).await?.pop().ok_or(Error::Stopping)
    }
}

/// Works off tasks, each batch as one transaction. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) db: Db,
    /// None while nobody publishes yet.
    pub(crate) relay: Option<Relay>,
    pub(crate) crash: CrashPoints,
    /// How long goods are set aside before somebody asks.
    pub(crate) hold: Duration,
    /// Whom a level that is low asks for goods; none: nobody.
    pub(crate) centre: Option<PlaceId>,
}

impl Executor {
    async fn work(&self, calls: Vec<Arc<Vec<Command>>>) -> Result<Vec<Vec<Outcome>>, Error> {
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

    /// Does adjustments outside of any call; gives how many were new.
    pub(crate) async fn adjust(&self, requests: Vec<AdjustmentRequest>) -> Result<usize, Error> {
        let mut tx = self.db.write().await?;
        let task = Command::Adjust(requests, None);
        let mut unit = self.load(&mut tx, &[&task]).await?;
        if let Outcome::Adjusted(done) = perform(&mut tx, &mut unit, &task).await? {
            done?;
        }
        let new = unit.new_adjustments.len();
        if !unit.is_clean() {
            self.finish(tx, unit).await?;
        }
        Ok(new)
    }

    async fn alone(&self, task: &Command) -> Result<Outcome, Error> {
        match self.transact(&[task]).await {
            Ok(mut answers) => answers.pop().ok_or(Error::Stopping),
            Err(err) if err.is_constraint() => {
                tracing::error!(?task, error = %err, "the schema refused a movement of stock");
                Ok(match task {
                    Command::Reserve { .. } => {
                        Outcome::Reserved(Reserved::Invalid("it contradicts what is on the books".into()))
                    }
                    Command::Adjust(..) => Outcome::Adjusted(Err(err)),
                    Command::Available { .. } | Command::Threshold(..) => Outcome::Threshold(Err(err)),
                    _ => return Err(err),
                })
            }
            Err(err) => Err(err),
        }
    }

    /// Sets below how many available people are told.
    pub(crate) async fn set_threshold(&self, key: StockKey, threshold: Option<i64>) -> Result<(), Error> {
        self.transact(&[&Command::Threshold(key, threshold)]).await.map(drop)
    }

    async fn transact(&self, tasks: &[&Command]) -> Result<Vec<Outcome>, Error> {
        let mut tx = self.db.write().await?;
        let mut unit = self.load(&mut tx, tasks).await?;
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            answers.push(perform(&mut tx, &mut unit, task).await?);
        }
        if !unit.is_clean() {
            self.finish(tx, unit).await?;
        }
        Ok(answers)
    }

    /// Does what fresh events call for, in the transaction that remembers them. `plan` gives each event's tasks.
    pub(crate) async fn follow(&self, events: &[Event], plan: &[Vec<Command>]) -> Result<Vec<Vec<Outcome>>, Error> {
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, events).await?;
        let wanted = || plan.iter().zip(&fresh).filter(|(_, fresh)| **fresh).flat_map(|(tasks, _)| tasks);
        let mut unit = self.load(&mut tx, &wanted().collect::<Vec<_>>()).await?;
        let mut answers = Vec::with_capacity(events.len());
        for (tasks, fresh) in plan.iter().zip(&fresh) {
            let mut done = Vec::new();
            for task in tasks.iter().filter(|_| *fresh) {
                done.push(perform(&mut tx, &mut unit, task).await?);
            }
            answers.push(done);
        }
        if unit.is_clean() {
            // The inbox moved on all the same.
            tx.commit().await?;
        } else {
            self.finish(tx, unit).await?;
        }
        Ok(answers)
    }

    async fn load(&self, tx: &mut Tx, tasks: &[&Command]) -> Result<UnitOfWork, Error> {
        let mut load_set = LoadSet::default();
        for task in tasks {
            match task {
                Command::Reserve { order_id, place_id, lines } => {
                    load_set.orders.insert(order_id.as_str());
                    load_set.places.insert(place_id.as_str());
                    load_set.products.extend(lines.keys().map(|id| id.as_str()));
                }
                Command::Release(order_id)
                | Command::Commit(order_id)
                | Command::Cancel(order_id)
                | Command::Restock { order_id, .. }
                | Command::ExtendHold(order_id, _) => {
                    load_set.orders.insert(order_id.as_str());
                }
                Command::Adjust(requests, _) => {
                    for request in requests {
                        load_set.adjustments.insert(&request.id);
                        load_set.places.insert(request.key.place_id.as_str());
                        load_set.products.insert(request.key.product_id.as_str());
                        load_set.new_levels.insert(request.key.clone());
                    }
                }
                Command::Available { key, .. } | Command::Threshold(key, _) => {
                    load_set.places.insert(key.place_id.as_str());
                    load_set.products.insert(key.product_id.as_str());
                    load_set.new_levels.insert(key.clone());
                }
            }
        }
        let mut unit = UnitOfWork { now: Timestamp::now(), hold: self.hold, ..UnitOfWork::default() };
        unit_of_work::load(tx, load_set, &mut unit).await?;
        Ok(unit)
    }

    pub(crate) async fn finish(&self, mut tx: Tx, unit: UnitOfWork) -> Result<(), Error> {
        unit_of_work::save(&mut tx, &unit).await?;
        self.refill(&mut tx, &unit).await?;
        let points = crash_points(&unit);
        bus::outbox::append(&mut tx, crate::NAME, unit.events.iter().map(events::event).collect()).await?;
        points.iter().for_each(|(before, _)| self.crash.reach(before));
        tx.commit().await?;
        points.iter().for_each(|(_, after)| self.crash.reach(after));
        self.wake();
        Ok(())
    }

    /// Has what was told published at once.
    pub(crate) fn wake(&self) {
        if let Some(relay) = &self.relay {
            relay.wake();
        }
    }
}

async fn perform(tx: &mut Tx, unit: &mut UnitOfWork, task: &Command) -> Result<Outcome, Error> {
    Ok(match task {
        Command::Reserve { order_id, place_id, lines } => Outcome::Reserved(unit.reserve(order_id, place_id, lines)),
        Command::Release(order_id) => Outcome::Reservation(Some(unit.release(order_id))),
        Command::Commit(order_id) => Outcome::Reservation(unit.commit(order_id, SYSTEM)),
        Command::Cancel(order_id) => {
            unit.cancel(order_id, SYSTEM);
            Outcome::Reservation(None)
        }
        Command::Restock { order_id, lines, reason } => {
            Outcome::Restocked(unit.restock(order_id, Some(lines), reason, SYSTEM))
        }
        Command::ExtendHold(order_id, pause) => {
            unit.extend_hold(order_id, *pause);
            Outcome::HoldExtended
        }
        Command::Adjust(requests, keyed) => Outcome::Adjusted(adjust(tx, unit, requests, keyed.as_ref()).await?),
        Command::Available { key, available, reason, actor } if unit.places.contains(&key.place_id) => {
            let delta = unit.delta_to_available(key, *available);
            let request = AdjustmentRequest {
                id: Id::<()>::new().to_string(),
                key: key.clone(),
                delta,
                reason: reason.clone(),
                actor: actor.clone(),
            };
            let done = if delta == 0 { Ok(Vec::new()) } else { unit.adjust(&[request]) };
            let level = unit.levels.get(key).cloned().unwrap_or_default();
            Outcome::Threshold(done.map(|_| level).map_err(Error::from))
        }
        Command::Available { key, .. } => Outcome::Threshold(Err(Error::UnknownPlace(key.place_id.to_string()))),
        Command::Threshold(key, threshold) if unit.places.contains(&key.place_id) => {
            Outcome::Threshold(Ok(unit.set_threshold(key, *threshold)))
        }
        Command::Threshold(key, _) => Outcome::Threshold(Err(Error::UnknownPlace(key.place_id.to_string()))),
    })
}

/// Refusals are answers; only a failing store fails the batch.
async fn adjust(
    tx: &mut Tx,
    unit: &mut UnitOfWork,
    requests: &[AdjustmentRequest],
    keyed: Option<&KeyedRequest>,
) -> Result<Result<Vec<Adjustment>, Error>, Error> {
    let mut requests = requests.to_vec();
    if let Some(keyed) = keyed {
        // The key leads to the id that the first request made; the id leads to its answer.
        match store::idempotency::find(tx, keyed).await {
            Ok(None) => {}
            Ok(Some(id)) => {
                unit_of_work::load_adjustment(tx, &id, unit).await?;
                requests.iter_mut().for_each(|request| request.id.clone_from(&id));
            }
            Err(Error::KeyReused) => return Ok(Err(Error::KeyReused)),
            Err(err) => return Err(err),
        }
    }
    let known = unit.new_adjustments.len();
    let done = unit.adjust(&requests);
    if let (Some(keyed), Ok([first, ..])) = (keyed, done.as_deref())
        && unit.new_adjustments.len() > known
    {
        store::idempotency::remember(tx, keyed, &first.request.id, unit.now).await?;
    }
    Ok(done.map_err(Error::from))
}

/// The crash points of the kinds of movement that are about to become durable.
fn crash_points(unit: &UnitOfWork) -> BTreeSet<(&'static str, &'static str)> {
    unit.events
        .iter()
        .filter_map(|told| match told {
            DomainEvent::Reserved(_) => Some(("stock.reserve.before_commit", "stock.reserve.after_commit")),
            DomainEvent::Released(_) => Some(("stock.release.before_commit", "stock.release.after_commit")),
            DomainEvent::Sold(_) => Some(("stock.commit.before_commit", "stock.commit.after_commit")),
            DomainEvent::Restocked(..) => Some(("stock.restock.before_commit", "stock.restock.after_commit")),
            DomainEvent::Adjusted(..) | DomainEvent::Low(..) => None,
        })
        .collect()
}
