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
    // Before the first try: a commit whose answer was lost is found by the next one.
    let new_id = &request.id.clone().unwrap_or_else(|| Id::<()>::new().to_string());
    db::retry(|| async move {
        let mut tx = executor.db.write().await?;
        let id = idempotency_keys::find(&mut tx, keyed).await?.unwrap_or_else(|| new_id.clone());
        let now = Timestamp::now();
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

/// Applies a transition to a request and moves its goods. A transition that was applied before changes nothing. `keyed` tells the
/// tries and repeats of one receipt from further goods.
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use chassis::CrashPoints;
    use db::faults::Point;

    use super::*;
    use crate::{
        commands::{Command, Outcome},
        domain::AdjustmentRequest,
        seed, store,
    };
    use batch::CommandExecutor;

    /// An executor that loses the answer of the next commits, as many as the counter says.
    async fn executor(lost: Arc<AtomicUsize>) -> (testkit::Store, Executor) {
        let test_store = testkit::store().await.expect("a store");
        let db = test_store.open(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await.expect("opens");
        for (id, kind) in [("logistics", "logistics"), ("s1", "store")] {
            let id = PlaceId::trusted(id.into());
            seed::create_place(&db, &id, id.as_str(), kind, None).await.expect("makes a place");
        }
        let db = db.with_faults(move |point| {
            let take = |left: usize| left.checked_sub(1);
            point == Point::Committed && lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
        });
        let hold = Duration::from_secs(60);
        (test_store, Executor { db, relay: None, crash: CrashPoints::none(), hold, replenish_from: None })
    }

    async fn on_hand(executor: &Executor, place: &str) -> i64 {
        let mut tx = executor.db.read().await.expect("reads");
        let row = db::query("select on_hand from levels where place_id = $1").bind(place);
        row.fetch_optional(&mut tx).await.expect("reads").map_or(0, |row| row.get("on_hand").expect("a number"))
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_is_not_repeated() {
        let lost = Arc::new(AtomicUsize::new(0));
        let (_store, executor) = executor(Arc::clone(&lost)).await;
        let key = |place: &str| StockKey::new(&PlaceId::trusted(place.into()), &Id::trusted("tea".into()));
        let put_in = AdjustmentRequest {
            id: "a".into(),
            key: key("logistics"),
            delta: 10,
            reason: "delivery".into(),
            actor: "me".into(),
        };
        executor.adjust(vec![put_in]).await.expect("adjusts");
        let lose = || lost.store(1, Ordering::SeqCst);

        lose();
        let wish = ReplenishmentRequest {
            id: None,
            from: PlaceId::trusted("logistics".into()),
            key: key("s1"),
            quantity: 8,
            reason: None,
            actor: "me".into(),
        };
        let made = request(&executor, &wish, None).await.expect("requests");
        let mut tx = executor.db.read().await.expect("reads");
        assert_eq!(replenishments::all(&mut tx).await.expect("reads").len(), 1, "one request");
        drop(tx);

        for step in [Transition::Approve, Transition::Dispatch] {
            lose();
            transition(&executor, &made.id, &step, "me", None).await.expect("goes on");
        }
        assert_eq!(on_hand(&executor, "logistics").await, 2);
        for counted in 1..=2 {
            lose();
            let receipt = Transition::Receive { quantity: 3, last: false, may_differ: false };
            let keyed = KeyedRequest::of_this_call("me", "receive", &3);
            let received = transition(&executor, &made.id, &receipt, "me", Some(&keyed)).await.expect("receives");
            assert_eq!((received.received, on_hand(&executor, "s1").await), (3 * counted, 3 * counted));
        }

        // Somebody sells one piece between the lost answer and the next try: the count was before that.
        let count = Command::SetAvailable {
            id: "count".into(),
            key: key("s1"),
            available: 5,
            reason: "count".into(),
            actor: "me".into(),
        };
        executor.execute(&[&count]).await.expect("counts");
        let sold =
            AdjustmentRequest { id: "b".into(), key: key("s1"), delta: -1, reason: "sold".into(), actor: "me".into() };
        executor.adjust(vec![sold]).await.expect("adjusts");
        let again = executor.execute(&[&count]).await.expect("counts once");
        assert!(matches!(again[..], [Outcome::LevelSet(_)]), "a repeat is no refusal: {again:?}");
        assert_eq!(on_hand(&executor, "s1").await, 4);
        assert_eq!(lost.load(Ordering::SeqCst), 0, "each answer was lost");
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_has_its_event() {
        let lost = Arc::new(AtomicUsize::new(1));
        let (_store, executor) = executor(Arc::clone(&lost)).await;
        let delivered = AdjustmentRequest {
            id: "a".into(),
            key: StockKey::new(&PlaceId::trusted("s1".into()), &Id::trusted("tea".into())),
            delta: 10,
            reason: "delivery".into(),
            actor: "me".into(),
        };
        let command = Command::Adjust { requests: vec![delivered], keyed: None };
        executor.execute(&[&command]).await.expect("adjusts");
        assert_eq!((on_hand(&executor, "s1").await, lost.load(Ordering::SeqCst)), (10, 0));
        let mut tx = executor.db.read().await.expect("reads");
        let row = db::query("select count(*) as n from outbox where key = 's1/tea'").fetch_one(&mut tx).await;
        assert_eq!(row.expect("reads").get::<i64>("n").expect("a number"), 1);
    }

    #[tokio::test]
    async fn two_receipts_under_one_key_at_once_are_one() {
        let (_store, executor) = executor(Arc::default()).await;
        let key = |place: &str| StockKey::new(&PlaceId::trusted(place.into()), &Id::trusted("tea".into()));
        let put_in = AdjustmentRequest {
            id: "a".into(),
            key: key("logistics"),
            delta: 10,
            reason: "delivery".into(),
            actor: "me".into(),
        };
        executor.adjust(vec![put_in]).await.expect("adjusts");
        let wish = ReplenishmentRequest {
            id: None,
            from: PlaceId::trusted("logistics".into()),
            key: key("s1"),
            quantity: 8,
            reason: None,
            actor: "me".into(),
        };
        let made = request(&executor, &wish, None).await.expect("requests");
        for step in [Transition::Approve, Transition::Dispatch] {
            transition(&executor, &made.id, &step, "me", None).await.expect("goes on");
        }
        let receipt = Transition::Receive { quantity: 3, last: false, may_differ: false };
        let keyed = KeyedRequest::of_this_call("me", "receive", &3);
        let receive = || transition(&executor, &made.id, &receipt, "me", Some(&keyed));
        let (one, two) = tokio::join!(receive(), receive());
        let received = (one.expect("receives").received, two.expect("finds the first").received);
        assert_eq!((received, on_hand(&executor, "s1").await), ((3, 3), 3));
    }
}
