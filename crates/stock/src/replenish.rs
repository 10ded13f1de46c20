//! Moving goods from place to place: by request of people, or by itself where a level is low.

use commerce::{Id, PlaceId, Timestamp};
use db::Tx;

use crate::{
    commands::{Executor, SYSTEM},
    domain::{DomainEvent, GoodsMovement, Level, Replenishment, StockKey, Transition, TransitionError, UnitOfWork},
    error::Error,
    events,
    store::{
        idempotency::{self, KeyedRequest},
        replenishments,
        unit_of_work::{self, LoadSet},
    },
};

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Chosen by the caller: the same id never asks twice.
    pub(crate) id: Option<String>,
    pub(crate) from: PlaceId,
    pub(crate) key: StockKey,
    pub(crate) quantity: i64,
    pub(crate) reason: Option<String>,
    pub(crate) actor: String,
}

impl Executor {
    /// Takes a request down; again, it is the one that was taken down first.
    pub(crate) async fn request(&self, wanted: &Request, keyed: Option<&KeyedRequest>) -> Result<Replenishment, Error> {
        db::retry(|| async move {
            let mut tx = self.db.write().await?;
            let mut id = wanted.id.clone();
            if let Some(keyed) = keyed
                && let Some(first) = idempotency::find(&mut tx, keyed).await?
            {
                id = Some(first);
            }
            let now = Timestamp::now();
            let id = id.unwrap_or_else(|| Id::<()>::new().to_string());
            if let Some(known) = replenishments::take(&mut tx, &id).await? {
                let same = (&known.from, &known.to, &known.product_id, known.quantity)
                    == (&wanted.from, &wanted.key.place_id, &wanted.key.product_id, wanted.quantity);
                return if same { Ok(known) } else { Err(Error::Reused(id)) };
            }
            let mut unit = UnitOfWork { now, ..UnitOfWork::default() };
            let places = [wanted.from.as_str(), wanted.key.place_id.as_str()].into();
            unit_of_work::load(&mut tx, LoadSet { places, ..LoadSet::default() }, &mut unit).await?;
            for place in [&wanted.from, &wanted.key.place_id] {
                if !unit.places.contains(place) {
                    return Err(Error::UnknownPlace(place.to_string()));
                }
            }
            let mut new = Replenishment::requested(
                id,
                wanted.from.clone(),
                wanted.key.clone(),
                wanted.quantity,
                &wanted.actor,
                now,
            );
            new.reason.clone_from(&wanted.reason);
            replenishments::add(&mut tx, &mut new).await?;
            if let Some(keyed) = keyed {
                idempotency::remember(&mut tx, keyed, &new.id, now).await?;
            }
            bus::outbox::append(&mut tx, crate::NAME, vec![events::replenishment(&new)]).await?;
            tx.commit().await?;
            self.wake();
            Ok(new)
        })
        .await
    }

    /// Moves one of them along, and the goods with it; a move that was made before changes nothing.
    pub(crate) async fn advance(
        &self,
        id: &str,
        wanted: &Transition,
        actor: &str,
        keyed: Option<&KeyedRequest>,
    ) -> Result<Replenishment, Error> {
        db::retry(|| async move {
            let mut tx = self.db.write().await?;
            let mut one =
                replenishments::take(&mut tx, id).await?.ok_or_else(|| Error::NoReplenishment(id.to_owned()))?;
            if let Some(keyed) = keyed
                && idempotency::find(&mut tx, keyed).await?.is_some()
            {
                return Ok(one);
            }
            let now = Timestamp::now();
            let Some(goods) = one.apply(wanted, actor, now)? else { return Ok(one) };
            let mut unit = UnitOfWork { now, ..UnitOfWork::default() };
            carry(&mut tx, &mut unit, &one, goods, actor).await?;
            replenishments::save(&mut tx, &one).await?;
            if let Some(keyed) = keyed {
                idempotency::remember(&mut tx, keyed, &one.id, now).await?;
            }
            bus::outbox::append(&mut tx, crate::NAME, vec![events::replenishment(&one)]).await?;
            self.finish(tx, unit).await?;
            Ok(one)
        })
        .await
    }

    /// Asks for goods where a level has become low, once until they have come.
    pub(crate) async fn refill(&self, tx: &mut Tx, unit: &UnitOfWork) -> Result<(), Error> {
        let Some(centre) = &self.centre else { return Ok(()) };
        for told in &unit.events {
            let DomainEvent::Low(key, _) = told else { continue };
            let level = unit.levels.get(key).cloned().unwrap_or_default();
            if &key.place_id == centre || !level.is_low() || replenishments::has_asked(tx, key).await? {
                continue;
            }
            let id = Id::<()>::new().to_string();
            let mut new = Replenishment::requested(id, centre.clone(), key.clone(), missing(&level), SYSTEM, unit.now);
            new.automatic = true;
            new.reason = Some("below its threshold".into());
            replenishments::add(tx, &mut new).await?;
            bus::outbox::append(tx, crate::NAME, vec![events::replenishment(&new)]).await?;
        }
        Ok(())
    }
}

/// What brings a low level to twice its threshold.
fn missing(level: &Level) -> i64 {
    (level.threshold.unwrap_or_default().saturating_mul(2) - level.available()).max(1)
}

/// Moves the goods of the two places.
async fn carry(
    tx: &mut Tx,
    unit: &mut UnitOfWork,
    one: &Replenishment,
    goods: GoodsMovement,
    actor: &str,
) -> Result<(), Error> {
    let place = match goods {
        GoodsMovement::Stay => return Ok(()),
        GoodsMovement::Leave(_) => &one.from,
        GoodsMovement::Arrive { .. } => &one.to,
    };
    let key = StockKey { place_id: place.clone(), product_id: one.product_id.clone() };
    let load_set = LoadSet {
        places: [key.place_id.as_str()].into(),
        products: [key.product_id.as_str()].into(),
        new_levels: [key.clone()].into(),
        ..LoadSet::default()
    };
    unit_of_work::load(tx, load_set, unit).await?;
    match goods {
        GoodsMovement::Leave(quantity) => unit.send(&key, quantity, &one.id, actor).map_err(|available| {
            Error::TransitionError(TransitionError::Short {
                product_id: key.product_id,
                place_id: key.place_id,
                quantity,
                available,
            })
        })?,
        GoodsMovement::Arrive { booked, difference } => unit.receive(&key, booked, difference, &one.id, actor),
        GoodsMovement::Stay => {}
    }
    Ok(())
}
