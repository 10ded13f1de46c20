//! Moving goods from place to place: by request of people, or by itself where a level is low.

use commerce::{Id, PlaceId, Timestamp};
use db::Tx;

use crate::{
    domain::{Book, Goods, Level, Move, Replenishment, Slot, Told, Unmoved},
    error::Error,
    events,
    operate::{Desk, SYSTEM},
    store::{
        answers::{self, Asked},
        books::{self, Needs},
        replenishments,
    },
};

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// DeadLetterFilter by the caller: the same id never asks twice.
    pub(crate) id: Option<String>,
    pub(crate) from: PlaceId,
    pub(crate) slot: Slot,
    pub(crate) quantity: i64,
    pub(crate) reason: Option<String>,
    pub(crate) actor: String,
}

impl Desk {
    /// Takes a request down; again, it is the one that was taken down first.
    pub(crate) async fn request(&self, wanted: &Request, asked: Option<&Asked>) -> Result<Replenishment, Error> {
        db::retry(|| async move {
            let mut tx = self.db.write().await?;
            let mut id = wanted.id.clone();
            if let Some(asked) = asked
                && let Some(first) = answers::find(&mut tx, asked).await?
            {
                id = Some(first);
            }
            let now = Timestamp::now();
            let id = id.unwrap_or_else(|| Id::<()>::new().to_string());
            if let Some(known) = replenishments::take(&mut tx, &id).await? {
                let same = (&known.from, &known.to, &known.product_id, known.quantity)
                    == (&wanted.from, &wanted.slot.place_id, &wanted.slot.product_id, wanted.quantity);
                return if same { Ok(known) } else { Err(Error::Reused(id)) };
            }
            let mut book = Book { now, ..Book::default() };
            let places = [wanted.from.as_str(), wanted.slot.place_id.as_str()].into();
            books::load(&mut tx, Needs { places, ..Needs::default() }, &mut book).await?;
            for place in [&wanted.from, &wanted.slot.place_id] {
                if !book.places.contains(place) {
                    return Err(Error::UnknownPlace(place.to_string()));
                }
            }
            let mut new = Replenishment::requested(
                id,
                wanted.from.clone(),
                wanted.slot.clone(),
                wanted.quantity,
                &wanted.actor,
                now,
            );
            new.reason.clone_from(&wanted.reason);
            replenishments::add(&mut tx, &mut new).await?;
            if let Some(asked) = asked {
                answers::remember(&mut tx, asked, &new.id, now).await?;
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
        wanted: &Move,
        actor: &str,
        asked: Option<&Asked>,
    ) -> Result<Replenishment, Error> {
        db::retry(|| async move {
            let mut tx = self.db.write().await?;
            let mut one =
                replenishments::take(&mut tx, id).await?.ok_or_else(|| Error::NoReplenishment(id.to_owned()))?;
            if let Some(asked) = asked
                && answers::find(&mut tx, asked).await?.is_some()
            {
                return Ok(one);
            }
            let now = Timestamp::now();
            let Some(goods) = one.apply(wanted, actor, now)? else { return Ok(one) };
            let mut book = Book { now, ..Book::default() };
            carry(&mut tx, &mut book, &one, goods, actor).await?;
            replenishments::save(&mut tx, &one).await?;
            if let Some(asked) = asked {
                answers::remember(&mut tx, asked, &one.id, now).await?;
            }
            bus::outbox::append(&mut tx, crate::NAME, vec![events::replenishment(&one)]).await?;
            self.finish(tx, book).await?;
            Ok(one)
        })
        .await
    }

    /// Asks for goods where a level has become low, once until they have come.
    pub(crate) async fn refill(&self, tx: &mut Tx, book: &Book) -> Result<(), Error> {
        let Some(centre) = &self.centre else { return Ok(()) };
        for told in &book.told {
            let Told::Low(slot, _) = told else { continue };
            let level = book.levels.get(slot).cloned().unwrap_or_default();
            if &slot.place_id == centre || !level.is_low() || replenishments::has_asked(tx, slot).await? {
                continue;
            }
            let id = Id::<()>::new().to_string();
            let mut new = Replenishment::requested(id, centre.clone(), slot.clone(), missing(&level), SYSTEM, book.now);
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
async fn carry(tx: &mut Tx, book: &mut Book, one: &Replenishment, goods: Goods, actor: &str) -> Result<(), Error> {
    let place = match goods {
        Goods::Stay => return Ok(()),
        Goods::Leave(_) => &one.from,
        Goods::Arrive { .. } => &one.to,
    };
    let slot = Slot { place_id: place.clone(), product_id: one.product_id.clone() };
    let needs = Needs {
        places: [slot.place_id.as_str()].into(),
        products: [slot.product_id.as_str()].into(),
        slots: [slot.clone()].into(),
        ..Needs::default()
    };
    books::load(tx, needs, book).await?;
    match goods {
        Goods::Leave(quantity) => book.send(&slot, quantity, &one.id, actor).map_err(|available| {
            Error::Unmoved(Unmoved::Short { product_id: slot.product_id, place_id: slot.place_id, quantity, available })
        })?,
        Goods::Arrive { booked, difference } => book.receive(&slot, booked, difference, &one.id, actor),
        Goods::Stay => {}
    }
    Ok(())
}
