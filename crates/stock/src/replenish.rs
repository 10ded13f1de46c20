//! Replenishment: goods that people request from another place, and the transitions of such a request.

use commerce::{Id, PlaceId, Timestamp};
use db::Tx;
use idempotency::KeyedRequest;

use crate::{
    domain::{GoodsMovement, Replenishment, StockKey, Transition, TransitionError, UnitOfWork},
    error::Error,
    events,
    executor::Executor,
    store::{
        idempotency_keys, replenishments,
        unit_of_work::{self, LoadSet},
    },
};

/// Goods that a person requests.
#[derive(Debug, Clone)]
pub(crate) struct ReplenishmentRequest {
    /// Chosen by the caller: a repeat with the same id requests nothing more.
    pub(crate) id: Option<String>,
    pub(crate) from: PlaceId,
    /// The product, and the place that the goods go to.
    pub(crate) key: StockKey,
    pub(crate) quantity: i64,
    pub(crate) reason: Option<String>,
    pub(crate) actor: String,
}

/// Stores a request. A repeat returns the stored one.
pub(crate) async fn request(
    executor: &Executor,
    request: &ReplenishmentRequest,
    keyed: Option<&KeyedRequest>,
) -> Result<Replenishment, Error> {
    db::retry(|| async move {
        let mut tx = executor.db.write().await?;
        let mut id = request.id.clone();
        if let Some(first) = idempotency_keys::find(&mut tx, keyed).await? {
            id = Some(first);
        }
        let now = Timestamp::now();
        let id = id.unwrap_or_else(|| Id::<()>::new().to_string());
        if let Some(known) = replenishments::lock(&mut tx, &id).await? {
            let same = (&known.from, &known.to, &known.product_id, known.quantity)
                == (&request.from, &request.key.place_id, &request.key.product_id, request.quantity);
            return if same { Ok(known) } else { Err(Error::IdReused(id)) };
        }
        let mut unit = UnitOfWork { now, ..UnitOfWork::default() };
        let places = [request.from.as_str(), request.key.place_id.as_str()].into();
        unit_of_work::load(&mut tx, LoadSet { places, ..LoadSet::default() }, &mut unit).await?;
        for place in [&request.from, &request.key.place_id] {
            if !unit.places.contains(place) {
                return Err(Error::UnknownPlace(place.to_string()));
            }
        }
        let mut new = Replenishment::requested(
            id,
            request.from.clone(),
            request.key.clone(),
            request.quantity,
            &request.actor,
            now,
        );
        new.reason.clone_from(&request.reason);
        replenishments::insert(&mut tx, &mut new).await?;
        idempotency_keys::store(&mut tx, keyed, &new.id, now).await?;
        bus::outbox::append(&mut tx, crate::NAME, vec![events::replenishment(&new)]).await?;
        tx.commit().await?;
        executor.wake_relay();
        Ok(new)
    })
    .await
}

/// Applies a transition to a request and moves its goods. A transition that was applied before changes nothing.
pub(crate) async fn transition(
    executor: &Executor,
    id: &str,
    transition: &Transition,
    actor: &str,
    keyed: Option<&KeyedRequest>,
) -> Result<Replenishment, Error> {
    db::retry(|| async move {
        let mut tx = executor.db.write().await?;
        let mut replenishment =
            replenishments::lock(&mut tx, id).await?.ok_or_else(|| Error::UnknownReplenishment(id.to_owned()))?;
        if idempotency_keys::find(&mut tx, keyed).await?.is_some() {
            return Ok(replenishment);
        }
        let now = Timestamp::now();
        let Some(goods) = replenishment.apply(transition, actor, now)? else { return Ok(replenishment) };
        let mut unit = UnitOfWork { now, ..UnitOfWork::default() };
        move_goods(&mut tx, &mut unit, &replenishment, goods, actor).await?;
        replenishments::save(&mut tx, &replenishment).await?;
        idempotency_keys::store(&mut tx, keyed, &replenishment.id, now).await?;
        bus::outbox::append(&mut tx, crate::NAME, vec![events::replenishment(&replenishment)]).await?;
        executor.commit(tx, unit).await?;
        Ok(replenishment)
    })
    .await
}

/// Takes goods out of the one place, or puts them into the other.
async fn move_goods(
    tx: &mut Tx,
    unit: &mut UnitOfWork,
    replenishment: &Replenishment,
    goods: GoodsMovement,
    actor: &str,
) -> Result<(), Error> {
    let place = match goods {
        GoodsMovement::None => return Ok(()),
        GoodsMovement::Leave(_) => &replenishment.from,
        GoodsMovement::Arrive { .. } => &replenishment.to,
    };
    let key = StockKey::new(place, &replenishment.product_id);
    let mut load_set = LoadSet::default();
    load_set.add_level(&key);
    unit_of_work::load(tx, load_set, unit).await?;
    match goods {
        GoodsMovement::Leave(quantity) => {
            unit.send(&key, quantity, &replenishment.id, actor).map_err(|available| {
                Error::Transition(TransitionError::Short {
                    product_id: key.product_id,
                    place_id: key.place_id,
                    quantity,
                    available,
                })
            })?;
        }
        GoodsMovement::Arrive { booked, difference } => {
            unit.receive(&key, booked, difference, &replenishment.id, actor);
        }
        GoodsMovement::None => {}
    }
    Ok(())
}
