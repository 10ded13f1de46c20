//! The writer: new orders and saga updates that arrive at the same time share one transaction.

use std::sync::Arc;

use batch::{CommandError, CommandExecutor, CommandQueue};
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

/// A method for each write. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    commands: CommandQueue<Executor>,
}

impl Writer {
    pub(super) fn start(db: &Db, ctx: &Context, relay: &Relay) -> Self {
        let executor = Executor { db: db.clone(), ctx: ctx.clone(), relay: relay.clone() };
        Self { commands: CommandQueue::start(&ctx.tasks, MAX_BATCH, executor) }
    }

    /// Inserts a new order, unless its key or id exists.
    pub(super) async fn insert(&self, new: OrderInsert) -> Result<InsertOutcome, Error> {
        match self.commands.run(Command::Insert(Box::new(new))).await? {
            Outcome::Inserted(outcome) => Ok(outcome),
            Outcome::Updated(_) => Err(Error::UnexpectedOutcome),
        }
    }

    /// Writes an update under its lease; false when the lease was lost, and nothing is written.
    pub(super) async fn update(&self, update: OrderUpdate) -> Result<bool, Error> {
        match self.commands.run(Command::Update(Box::new(update))).await? {
            Outcome::Updated(written) => Ok(written),
            Outcome::Inserted(_) => Err(Error::UnexpectedOutcome),
        }
    }
}

enum Command {
    Insert(Box<OrderInsert>),
    Update(Box<OrderUpdate>),
}

enum Outcome {
    Inserted(InsertOutcome),
    /// Whether the update was written, that is, its lease was valid.
    Updated(bool),
}

/// Why a transaction was not written.
#[derive(Debug, Clone)]
pub(super) enum WriteError {
    Store(Arc<db::Error>),
    Stopped,
}

impl CommandError for WriteError {
    fn stopped() -> Self {
        Self::Stopped
    }
}

impl db::AsDb for WriteError {
    fn as_db(&self) -> Option<&db::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Stopped => None,
        }
    }
}

impl From<db::Error> for WriteError {
    fn from(error: db::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => Self::Store(error),
            WriteError::Stopped => Self::Stopped,
        }
    }
}

/// Executes a batch as one transaction.
struct Executor {
    db: Db,
    ctx: Context,
    relay: Relay,
}

impl CommandExecutor for Executor {
    type Command = Command;
    type Outcome = Outcome;
    type Error = WriteError;

    async fn execute(&self, commands: &[&Command]) -> Result<Vec<Outcome>, WriteError> {
        let (mut inserts, mut updates) = (Vec::new(), Vec::new());
        for command in commands {
            match command {
                Command::Insert(new) => inserts.push(&**new),
                Command::Update(update) => updates.push(&**update),
            }
        }
        let mut tx = self.db.write().await?;
        let inserted = if inserts.is_empty() {
            Vec::new()
        } else {
            store::insert_orders(&mut tx, &inserts, events::placed, events::placed_message).await?
        };
        let updated = if updates.is_empty() { Vec::new() } else { store::apply_updates(&mut tx, &updates).await? };
        for command in commands {
            self.ctx.crash.reach(command.crash_points().0);
        }
        tx.commit().await?;
        for command in commands {
            self.ctx.crash.reach(command.crash_points().1);
        }
        self.relay.wake();
        let (mut inserted, mut updated) = (inserted.into_iter(), updated.into_iter());
        // The store returns one result for each insert and update, in their order.
        Ok(commands
            .iter()
            .filter_map(|command| match command {
                Command::Insert(_) => inserted.next().map(Outcome::Inserted),
                Command::Update(_) => updated.next().map(Outcome::Updated),
            })
            .collect())
    }

    fn refused(&self, _: &Command, error: WriteError) -> Result<Outcome, WriteError> {
        Err(error)
    }
}

impl Command {
    /// The crash points before and after the commit.
    fn crash_points(&self) -> (&'static str, &'static str) {
        match self {
            Self::Insert(_) => ("order.place.before", "order.place.after"),
            Self::Update(update) => match (&update.kind, update.order.status) {
                (UpdateKind::Decision, _) => ("order.decide.before", "order.decide.after"),
                (UpdateKind::Terminal { .. }, Status::Cancelled) => ("order.cancel.before", "order.cancel.after"),
                (UpdateKind::Terminal { .. }, _) => ("order.confirm.before", "order.confirm.after"),
            },
        }
    }
}
