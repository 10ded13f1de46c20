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
    domain::{Adjustment, Book, Level, Reserved, Slot, State, Told, Wish},
    error::Error,
    events,
    store::{
        self,
        answers::Asked,
        books::{self, Needs},
    },
};

/// Most calls that share a transaction.
const MOST_CALLS: usize = 256;
/// Who moves stock when no person does.
pub(crate) const SYSTEM: &str = "souk";

/// One thing to do.
#[derive(Debug, Clone)]
pub(crate) enum Task {
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
    Keep(OrderId, Duration),
    /// Put in and take out by hand, all or nothing; with the key under which the answer is remembered.
    Adjust(Vec<Wish>, Option<Asked>),
    /// Put in or take out what makes so much available.
    Available { slot: Slot, available: i64, reason: String, actor: String },
    /// Below how many available people are told.
    Threshold(Slot, Option<i64>),
}

/// What became of a task.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Reserved(Reserved),
    /// Where the order's stock stands; nothing where it never had any.
    State(Option<State>),
    /// What could not be put back.
    Restocked(Vec<(ProductId, i64)>),
    Kept,
    Adjusted(Result<Vec<Adjustment>, Error>),
    /// The level as it is now.
    Threshold(Result<Level, Error>),
}

type Calls = Batcher<Arc<Vec<Task>>, Vec<Answer>, Error>;

/// Where tasks are put in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Counter {
    calls: Calls,
}

impl Counter {
    /// Opens the counter.
    pub(crate) fn open(ctx: &Context, desk: Desk) -> Self {
        // A database that does not answer would let each call wait for it alone, with all others behind it.
        let calls = Batcher::start_with(
            &ctx.tasks,
            MOST_CALLS,
            |err: &Error| !err.is_silence(),
            move |calls| {
                let desk = desk.clone();
                async move { desk.work(calls).await }
            },
        );
        Self { calls }
    }

    /// Does what is asked, one answer for each task in their order.
    pub(crate) async fn run(&self, tasks: Vec<Task>) -> Result<Vec<Answer>, Error> {
        self.calls.run(Arc::new(tasks)).await.map_err(|err| match err {
            batch::Error::Failed(err) => (*err).clone(),
            batch::Error::Stopped => Error::Stopping,
        })
    }

    /// Does one thing.
    pub(crate) async fn one(&self, task: Task) -> Result<Answer, Error> {
        self.run(vec![task]).await?.pop().ok_or(Error::Stopping)
    }
}

/// Works off tasks, each batch as one transaction. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) db: Db,
    /// None while nobody publishes yet.
    pub(crate) relay: Option<Relay>,
    pub(crate) crash: CrashPoints,
    /// How long goods are set aside before somebody asks.
    pub(crate) hold: Duration,
    /// Whom a level that is low asks for goods; none: nobody.
    pub(crate) centre: Option<PlaceId>,
}

impl Desk {
    async fn work(&self, calls: Vec<Arc<Vec<Task>>>) -> Result<Vec<Vec<Answer>>, Error> {
        let all: Vec<&Task> = calls.iter().flat_map(|call| call.iter()).collect();
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
    pub(crate) async fn adjust(&self, wishes: Vec<Wish>) -> Result<usize, Error> {
        let mut tx = self.db.write().await?;
        let task = Task::Adjust(wishes, None);
        let mut book = self.load(&mut tx, &[&task]).await?;
        if let Answer::Adjusted(done) = perform(&mut tx, &mut book, &task).await? {
            done?;
        }
        let new = book.new_adjustments.len();
        if !book.is_clean() {
            self.finish(tx, book).await?;
        }
        Ok(new)
    }

    async fn alone(&self, task: &Task) -> Result<Answer, Error> {
        match self.transact(&[task]).await {
            Ok(mut answers) => answers.pop().ok_or(Error::Stopping),
            Err(err) if err.is_constraint() => {
                tracing::error!(?task, error = %err, "the schema refused a movement of stock");
                Ok(match task {
                    Task::Reserve { .. } => {
                        Answer::Reserved(Reserved::Invalid("it contradicts what is on the books".into()))
                    }
                    Task::Adjust(..) => Answer::Adjusted(Err(err)),
                    Task::Available { .. } | Task::Threshold(..) => Answer::Threshold(Err(err)),
                    _ => return Err(err),
                })
            }
            Err(err) => Err(err),
        }
    }

    /// Sets below how many available people are told.
    pub(crate) async fn set_threshold(&self, slot: Slot, threshold: Option<i64>) -> Result<(), Error> {
        self.transact(&[&Task::Threshold(slot, threshold)]).await.map(drop)
    }

    async fn transact(&self, tasks: &[&Task]) -> Result<Vec<Answer>, Error> {
        let mut tx = self.db.write().await?;
        let mut book = self.load(&mut tx, tasks).await?;
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            answers.push(perform(&mut tx, &mut book, task).await?);
        }
        if !book.is_clean() {
            self.finish(tx, book).await?;
        }
        Ok(answers)
    }

    /// Does what fresh events call for, in the transaction that remembers them. `plan` gives each event's tasks.
    pub(crate) async fn follow(&self, events: &[Event], plan: &[Vec<Task>]) -> Result<Vec<Vec<Answer>>, Error> {
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, events).await?;
        let wanted = || plan.iter().zip(&fresh).filter(|(_, fresh)| **fresh).flat_map(|(tasks, _)| tasks);
        let mut book = self.load(&mut tx, &wanted().collect::<Vec<_>>()).await?;
        let mut answers = Vec::with_capacity(events.len());
        for (tasks, fresh) in plan.iter().zip(&fresh) {
            let mut done = Vec::new();
            for task in tasks.iter().filter(|_| *fresh) {
                done.push(perform(&mut tx, &mut book, task).await?);
            }
            answers.push(done);
        }
        if book.is_clean() {
            // The inbox moved on all the same.
            tx.commit().await?;
        } else {
            self.finish(tx, book).await?;
        }
        Ok(answers)
    }

    async fn load(&self, tx: &mut Tx, tasks: &[&Task]) -> Result<Book, Error> {
        let mut needs = Needs::default();
        for task in tasks {
            match task {
                Task::Reserve { order_id, place_id, lines } => {
                    needs.orders.insert(order_id.as_str());
                    needs.places.insert(place_id.as_str());
                    needs.products.extend(lines.keys().map(|id| id.as_str()));
                }
                Task::Release(order_id)
                | Task::Commit(order_id)
                | Task::Cancel(order_id)
                | Task::Restock { order_id, .. }
                | Task::Keep(order_id, _) => {
                    needs.orders.insert(order_id.as_str());
                }
                Task::Adjust(wishes, _) => {
                    for wish in wishes {
                        needs.adjustments.insert(&wish.id);
                        needs.places.insert(wish.slot.place_id.as_str());
                        needs.products.insert(wish.slot.product_id.as_str());
                        needs.slots.insert(wish.slot.clone());
                    }
                }
                Task::Available { slot, .. } | Task::Threshold(slot, _) => {
                    needs.places.insert(slot.place_id.as_str());
                    needs.products.insert(slot.product_id.as_str());
                    needs.slots.insert(slot.clone());
                }
            }
        }
        let mut book = Book { now: Timestamp::now(), hold: self.hold, ..Book::default() };
        books::load(tx, needs, &mut book).await?;
        Ok(book)
    }

    pub(crate) async fn finish(&self, mut tx: Tx, book: Book) -> Result<(), Error> {
        books::save(&mut tx, &book).await?;
        self.refill(&mut tx, &book).await?;
        let points = crash_points(&book);
        bus::outbox::append(&mut tx, crate::NAME, book.told.iter().map(events::event).collect()).await?;
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

async fn perform(tx: &mut Tx, book: &mut Book, task: &Task) -> Result<Answer, Error> {
    Ok(match task {
        Task::Reserve { order_id, place_id, lines } => Answer::Reserved(book.reserve(order_id, place_id, lines)),
        Task::Release(order_id) => Answer::State(Some(book.release(order_id))),
        Task::Commit(order_id) => Answer::State(book.commit(order_id, SYSTEM)),
        Task::Cancel(order_id) => {
            book.cancel(order_id, SYSTEM);
            Answer::State(None)
        }
        Task::Restock { order_id, lines, reason } => {
            Answer::Restocked(book.restock(order_id, Some(lines), reason, SYSTEM))
        }
        Task::Keep(order_id, pause) => {
            book.keep(order_id, *pause);
            Answer::Kept
        }
        Task::Adjust(wishes, asked) => Answer::Adjusted(adjust(tx, book, wishes, asked.as_ref()).await?),
        Task::Available { slot, available, reason, actor } if book.places.contains(&slot.place_id) => {
            let delta = book.missing(slot, *available);
            let wish = Wish {
                id: Id::<()>::new().to_string(),
                slot: slot.clone(),
                delta,
                reason: reason.clone(),
                actor: actor.clone(),
            };
            let done = if delta == 0 { Ok(Vec::new()) } else { book.adjust(&[wish]) };
            let level = book.levels.get(slot).cloned().unwrap_or_default();
            Answer::Threshold(done.map(|_| level).map_err(Error::from))
        }
        Task::Available { slot, .. } => Answer::Threshold(Err(Error::UnknownPlace(slot.place_id.to_string()))),
        Task::Threshold(slot, threshold) if book.places.contains(&slot.place_id) => {
            Answer::Threshold(Ok(book.set_threshold(slot, *threshold)))
        }
        Task::Threshold(slot, _) => Answer::Threshold(Err(Error::UnknownPlace(slot.place_id.to_string()))),
    })
}

/// Refusals are answers; only a failing store fails the batch.
async fn adjust(
    tx: &mut Tx,
    book: &mut Book,
    wishes: &[Wish],
    asked: Option<&Asked>,
) -> Result<Result<Vec<Adjustment>, Error>, Error> {
    let mut wishes = wishes.to_vec();
    if let Some(asked) = asked {
        // The key leads to the id that the first request made; the id leads to its answer.
        match store::answers::find(tx, asked).await {
            Ok(None) => {}
            Ok(Some(id)) => {
                books::load_adjustment(tx, &id, book).await?;
                wishes.iter_mut().for_each(|wish| wish.id.clone_from(&id));
            }
            Err(Error::KeyReused) => return Ok(Err(Error::KeyReused)),
            Err(err) => return Err(err),
        }
    }
    let known = book.new_adjustments.len();
    let done = book.adjust(&wishes);
    if let (Some(asked), Ok([first, ..])) = (asked, done.as_deref())
        && book.new_adjustments.len() > known
    {
        store::answers::remember(tx, asked, &first.wish.id, book.now).await?;
    }
    Ok(done.map_err(Error::from))
}

/// The crash points of the kinds of movement that are about to become durable.
fn crash_points(book: &Book) -> BTreeSet<(&'static str, &'static str)> {
    book.told
        .iter()
        .filter_map(|told| match told {
            Told::Reserved(_) => Some(("stock.reserve.before_commit", "stock.reserve.after_commit")),
            Told::Released(_) => Some(("stock.release.before_commit", "stock.release.after_commit")),
            Told::Sold(_) => Some(("stock.commit.before_commit", "stock.commit.after_commit")),
            Told::Restocked(..) => Some(("stock.restock.before_commit", "stock.restock.after_commit")),
            Told::Adjusted(..) | Told::Low(..) => None,
        })
        .collect()
}
