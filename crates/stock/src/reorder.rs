//! Requests goods where a level has fallen below its threshold.

use commerce::{Id, PlaceId};
use db::Tx;

use crate::{
    domain::{DomainEvent, Level, Replenishment, SYSTEM_ACTOR, UnitOfWork},
    error::Error,
    events,
    store::replenishments,
};

/// Requests goods from `from` for each level that this unit of work has made low, once until they are received.
pub(crate) async fn request_for_low_levels(tx: &mut Tx, unit: &UnitOfWork, from: &PlaceId) -> Result<(), Error> {
    for event in &unit.events {
        let DomainEvent::Low { key, .. } = event else { continue };
        let level = unit.levels.get(key).cloned().unwrap_or_default();
        if &key.place_id == from || !level.is_low() || replenishments::has_open_request(tx, key).await? {
            continue;
        }
        let id = Id::<()>::new().to_string();
        let quantity = missing_pieces(&level);
        let mut new = Replenishment::requested(id, from.clone(), key.clone(), quantity, SYSTEM_ACTOR, unit.now);
        new.automatic = true;
        new.reason = Some("below its threshold".into());
        replenishments::insert(tx, &mut new).await?;
        bus::outbox::append(tx, crate::NAME, vec![events::replenishment(&new)]).await?;
    }
    Ok(())
}

/// The pieces that bring a low level to twice its threshold.
fn missing_pieces(level: &Level) -> i64 {
    (level.threshold.unwrap_or_default().saturating_mul(2) - level.available()).max(1)
}
