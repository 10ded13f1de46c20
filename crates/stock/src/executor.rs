//! Executes commands, many in one transaction: the unit of work is loaded, each command is applied to it in turn, and what
//! changed is saved together with its events. Order events take the same path, with the inbox in the same transaction.

use std::{collections::BTreeSet, time::Duration};

use batch::CommandExecutor;
use bus::{Event, Failure, Relay};
use chassis::CrashPoints;
use commerce::{PlaceId, Timestamp};
use db::{Db, Tx};
use idempotency::KeyedRequest;

use crate::{
    commands::{Command, Outcome, Refusal},
    domain::{AdjustmentRequest, DomainEvent, Reserved, SYSTEM_ACTOR, StockKey, UnitOfWork},
    error::Error,
    events, reorder,
    store::{
        idempotency_keys,
        unit_of_work::{self, LoadSet},
    },
};

/// Executes commands in transactions of the stock store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) db: Db,
    /// Publishes the outbox; none while the sample data is loaded.
    pub(crate) relay: Option<Relay>,
    pub(crate) crash: CrashPoints,
    /// How long goods are reserved before the order service is asked whether the order still needs them.
    pub(crate) hold: Duration,
    /// The place that a low level requests goods from; none: low levels request nothing.
    pub(crate) replenish_from: Option<PlaceId>,
}

impl CommandExecutor for Executor {
    type Command = Command;
    type Outcome = Outcome;
    type Error = Error;

    async fn execute(&self, commands: &[&Command]) -> Result<Vec<Outcome>, Error> {
        db::retry(|| self.transact(commands)).await
    }

    fn refused(&self, command: &Command, error: Error) -> Result<Outcome, Error> {
        tracing::error!(?command, %error, "the schema refused a stock command");
        match command {
            Command::Reserve(_) => Ok(Outcome::Reserved(Reserved::Invalid("it contradicts stored data".into()))),
            _ => Err(error),
        }
    }
}

impl Executor {
    async fn transact(&self, commands: &[&Command]) -> Result<Vec<Outcome>, Error> {
        let mut tx = self.db.write().await?;
        let mut unit = self.load(&mut tx, commands).await?;
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            outcomes.push(apply(&mut tx, &mut unit, command).await?);
        }
        if !unit.is_clean() {
            self.commit(tx, unit).await?;
        }
        Ok(outcomes)
    }

    /// Applies adjustments outside of the queue, for the sample data. Returns how many were new.
    pub(crate) async fn adjust(&self, requests: Vec<AdjustmentRequest>) -> Result<usize, Error> {
        let mut tx = self.db.write().await?;
        let command = Command::Adjust { requests, keyed: None };
        let mut unit = self.load(&mut tx, &[&command]).await?;
        if let Outcome::Refused(refusal) = apply(&mut tx, &mut unit, &command).await? {
            return Err(refusal.into());
        }
        let new = unit.new_adjustments.len();
        if !unit.is_clean() {
            self.commit(tx, unit).await?;
        }
        Ok(new)
    }

    /// Sets a threshold outside of the queue, for the sample data.
    pub(crate) async fn set_threshold(&self, key: StockKey, threshold: Option<i64>) -> Result<(), Error> {
        self.transact(&[&Command::SetThreshold { key, threshold }]).await.map(drop)
    }

    /// Executes the commands of new events, in the transaction that records the events in the inbox. `commands` holds the
    /// command of each event, or none; so do the outcomes.
    pub(crate) async fn apply_events(
        &self,
        events: &[Event],
        commands: &[Option<Command>],
    ) -> Result<Vec<Option<Outcome>>, Failure> {
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, events).await?;
        let commands: Vec<Option<&Command>> =
            commands.iter().zip(&fresh).map(|(command, fresh)| command.as_ref().filter(|_| *fresh)).collect();
        let mut unit = self.load(&mut tx, &commands.iter().copied().flatten().collect::<Vec<_>>()).await?;
        let mut outcomes = Vec::with_capacity(events.len());
        for command in commands {
            outcomes.push(match command {
                Some(command) => Some(apply(&mut tx, &mut unit, command).await?),
                None => None,
            });
        }
        if unit.is_clean() {
            // The inbox has changed nevertheless.
            tx.commit().await?;
        } else {
            self.commit(tx, unit).await?;
        }
        Ok(outcomes)
    }

    async fn load(&self, tx: &mut Tx, commands: &[&Command]) -> Result<UnitOfWork, Error> {
        let mut load_set = LoadSet::default();
        for command in commands {
            command.add_to(&mut load_set);
        }
        let mut unit =
            UnitOfWork { now: Timestamp::from_micros(self.db.now_micros()), hold: self.hold, ..UnitOfWork::default() };
        unit_of_work::load(tx, load_set, &mut unit).await?;
        Ok(unit)
    }

    /// Saves what changed together with its events, and commits.
    pub(crate) async fn commit(&self, mut tx: Tx, unit: UnitOfWork) -> Result<(), Error> {
        unit_of_work::save(&mut tx, &unit).await?;
        if let Some(from) = &self.replenish_from {
            reorder::request_for_low_levels(&mut tx, &unit, from).await?;
        }
        let points = crash_points(&unit);
        bus::outbox::append(&mut tx, crate::NAME, unit.events.iter().map(events::event).collect()).await?;
        points.iter().for_each(|(before, _)| self.crash.reach(before));
        tx.commit().await?;
        points.iter().for_each(|(_, after)| self.crash.reach(after));
        self.wake_relay();
        Ok(())
    }

    /// Publishes new outbox rows at once.
    pub(crate) fn wake_relay(&self) {
        if let Some(relay) = &self.relay {
            relay.wake();
        }
    }
}

async fn apply(tx: &mut Tx, unit: &mut UnitOfWork, command: &Command) -> Result<Outcome, Error> {
    Ok(match command {
        Command::Reserve(request) => Outcome::Reserved(unit.reserve(request)),
        Command::Release(order_id) => Outcome::Released(unit.release(order_id)),
        Command::Commit(order_id) => Outcome::Committed(unit.commit(order_id, SYSTEM_ACTOR)),
        Command::Cancel(order_id) => {
            unit.cancel(order_id, SYSTEM_ACTOR);
            Outcome::Cancelled
        }
        Command::Restock { order_id, lines, reason } => {
            Outcome::Restocked(unit.restock(order_id, Some(lines), reason, SYSTEM_ACTOR))
        }
        Command::ExtendHold { order_id, pause } => {
            unit.extend_hold(order_id, *pause);
            Outcome::HoldExtended
        }
        Command::Adjust { requests, keyed } => adjust(tx, unit, requests, keyed.as_ref()).await?,
        Command::SetAvailable { key, .. } | Command::SetThreshold { key, .. }
            if !unit.places.contains(&key.place_id) =>
        {
            Outcome::Refused(Refusal::UnknownPlace(key.place_id.clone()))
        }
        Command::SetAvailable { id, key, available, reason, actor } => {
            set_available(unit, id, key, *available, reason, actor)
        }
        Command::SetThreshold { key, threshold } => Outcome::LevelSet(unit.set_threshold(key, *threshold)),
    })
}

/// Refusals are outcomes; only a failing store is an error, which fails the whole batch.
async fn adjust(
    tx: &mut Tx,
    unit: &mut UnitOfWork,
    requests: &[AdjustmentRequest],
    keyed: Option<&KeyedRequest>,
) -> Result<Outcome, Error> {
    let mut requests = requests.to_vec();
    // The key leads to the id of the first request; the id leads to its adjustment.
    match idempotency_keys::find(tx, keyed).await {
        Ok(None) => {}
        Ok(Some(id)) => {
            unit_of_work::load_adjustment(tx, &id, unit).await?;
            requests.iter_mut().for_each(|request| request.id.clone_from(&id));
        }
        Err(Error::KeyReused(_)) => return Ok(Outcome::Refused(Refusal::KeyReused)),
        Err(error) => return Err(error),
    }
    let known = unit.new_adjustments.len();
    let adjustments = match unit.adjust(&requests) {
        Ok(adjustments) => adjustments,
        Err(rejection) => return Ok(Outcome::Refused(Refusal::Adjustment(rejection))),
    };
    if let [first, ..] = adjustments.as_slice()
        && unit.new_adjustments.len() > known
    {
        idempotency_keys::store(tx, keyed, &first.request.id, unit.now).await?;
    }
    Ok(Outcome::Adjusted(adjustments))
}

fn set_available(
    unit: &mut UnitOfWork,
    id: &str,
    key: &StockKey,
    available: i64,
    reason: &str,
    actor: &str,
) -> Outcome {
    let delta = unit.delta_to_available(key, available);
    // An earlier try may have been committed, and others may have changed the level since.
    if delta != 0 && !unit.adjustments.contains_key(id) {
        let request = AdjustmentRequest {
            id: id.to_owned(),
            key: key.clone(),
            delta,
            reason: reason.to_owned(),
            actor: actor.to_owned(),
        };
        if let Err(rejection) = unit.adjust(&[request]) {
            return Outcome::Refused(Refusal::Adjustment(rejection));
        }
    }
    Outcome::LevelSet(unit.levels.get(key).cloned().unwrap_or_default())
}

/// The crash points of the kinds of movement that are about to become durable.
fn crash_points(unit: &UnitOfWork) -> BTreeSet<(&'static str, &'static str)> {
    unit.events
        .iter()
        .filter_map(|event| match event {
            DomainEvent::Reserved(_) => Some(("stock.reserve.before_commit", "stock.reserve.after_commit")),
            DomainEvent::Released(_) => Some(("stock.release.before_commit", "stock.release.after_commit")),
            DomainEvent::Sold(_) => Some(("stock.commit.before_commit", "stock.commit.after_commit")),
            DomainEvent::Restocked { .. } => Some(("stock.restock.before_commit", "stock.restock.after_commit")),
            DomainEvent::Adjusted { .. } | DomainEvent::Low { .. } => None,
        })
        .collect()
}
