//! The writer: new orders and saga updates that arrive at the same time share one transaction.

use batch::Batcher;
use bus::Relay;
use chassis::Context;
use db::Db;

use crate::{
    domain::Status,
    error::Error,
    events,
    store::{self, InsertOutcome, OrderInsert, OrderUpdate, UpdateKind},
};

/// Most orders in one transaction.
const MAX_BATCH: usize = 128;

/// Writes orders in batches. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    batcher: Batcher<Write, Written, db::Error>,
}

#[derive(Clone)]
enum Write {
    Insert(Box<OrderInsert>),
    Update(Box<OrderUpdate>),
}

enum Written {
    Inserted(InsertOutcome),
    /// Whether the update was written, that is, its lease was valid.
    Updated(bool),
}

impl Writer {
    pub(super) fn start(db: &Db, ctx: &Context, relay: &Relay) -> Self {
        let (db, ctx, relay) = (db.clone(), ctx.clone(), relay.clone());
        // With an unreachable database each order of the batch would wait for the time-out by itself.
        let try_alone = |error: &db::Error| !matches!(error, db::Error::Unavailable(_));
        let batcher = Batcher::start_with(&ctx.tasks.clone(), MAX_BATCH, try_alone, move |writes| {
            write(db.clone(), ctx.clone(), relay.clone(), writes)
        });
        Self { batcher }
    }

    /// Inserts a new order, unless its key or id exists.
    pub(super) async fn insert(&self, new: OrderInsert) -> Result<InsertOutcome, Error> {
        match self.batcher.run(Write::Insert(Box::new(new))).await? {
            Written::Inserted(outcome) => Ok(outcome),
            Written::Updated(_) => Err(Error::Stopped),
        }
    }

    /// Writes an update under its lease; false when the lease was lost, and nothing is written.
    pub(super) async fn update(&self, update: OrderUpdate) -> Result<bool, Error> {
        match self.batcher.run(Write::Update(Box::new(update))).await? {
            Written::Updated(written) => Ok(written),
            Written::Inserted(_) => Err(Error::Stopped),
        }
    }
}

/// Which crash points surround a write.
#[derive(Clone, Copy)]
enum WriteKind {
    Insert,
    Decide,
    Cancel,
    Confirm,
}

impl WriteKind {
    fn of(write: &Write) -> Self {
        match write {
            Write::Insert(_) => Self::Insert,
            Write::Update(update) => match (&update.kind, update.order.status) {
                (UpdateKind::Decision, _) => Self::Decide,
                (UpdateKind::Terminal { .. }, Status::Cancelled) => Self::Cancel,
                (UpdateKind::Terminal { .. }, _) => Self::Confirm,
            },
        }
    }

    const fn before(self) -> &'static str {
        match self {
            Self::Insert => "order.place.before",
            Self::Decide => "order.decide.before",
            Self::Cancel => "order.cancel.before",
            Self::Confirm => "order.confirm.before",
        }
    }

    const fn after(self) -> &'static str {
        match self {
            Self::Insert => "order.place.after",
            Self::Decide => "order.decide.after",
            Self::Cancel => "order.cancel.after",
            Self::Confirm => "order.confirm.after",
        }
    }
}

/// Writes a batch as one transaction.
async fn write(db: Db, ctx: Context, relay: Relay, writes: Vec<Write>) -> Result<Vec<Written>, db::Error> {
    let kinds: Vec<WriteKind> = writes.iter().map(WriteKind::of).collect();
    let (mut inserts, mut updates) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Insert(new) => inserts.push(*new),
            Write::Update(update) => updates.push(*update),
        }
    }
    let mut tx = db.write().await?;
    let inserted = if inserts.is_empty() {
        Vec::new()
    } else {
        store::insert_orders(&mut tx, inserts, events::placed, events::placed_message).await?
    };
    let updated = if updates.is_empty() { Vec::new() } else { store::apply_updates(&mut tx, updates).await? };
    for kind in &kinds {
        ctx.crash.reach(kind.before());
    }
    tx.commit().await?;
    for kind in &kinds {
        ctx.crash.reach(kind.after());
    }
    relay.wake();
    let (mut inserted, mut updated) = (inserted.into_iter(), updated.into_iter());
    // The store answers each list in its order. Were an answer missing, the order would be read again.
    Ok(kinds
        .iter()
        .map(|kind| match kind {
            WriteKind::Insert => inserted.next().map_or(Written::Updated(false), Written::Inserted),
            _ => Written::Updated(updated.next().unwrap_or(false)),
        })
        .collect())
}
