//! The facts about stock that the auditor checks, independent of the schema.

use commerce::Timestamp;
use db::{Db, Options};

use crate::{
    domain::UnitOfWork,
    store::{self, unit_of_work::LoadSet},
};

const PAGE_SIZE: i64 = 1_000;

/// Everything that the audit reads from this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every level, with the sums of its ledger entries.
    pub levels: Vec<LevelFact>,
    /// Goods in transit to a place.
    pub in_transit: Vec<TransitFact>,
    /// The number of the last event of each replenishment, by its id.
    pub replenishments: Vec<(String, i64)>,
    /// Every reservation, tombstones included.
    pub reservations: Vec<ReservationFact>,
    /// Reservations released before this time may have been deleted; none if none was.
    pub released_before: Option<Timestamp>,
    /// The events in the outbox.
    pub outbox: bus::outbox::OutboxDump,
    /// The last event of each aggregate that took effect.
    pub inbox: bus::inbox::InboxDump,
}

/// One product in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelFact {
    /// The product.
    pub product_id: String,
    /// The place.
    pub place_id: String,
    /// Pieces in the place.
    pub on_hand: i64,
    /// The pieces of these that are reserved.
    pub reserved: i64,
    /// Manual adjustments according to the ledger: put in less taken out.
    pub adjusted: i64,
    /// Pieces sold, according to the ledger.
    pub sold: i64,
    /// Pieces put back, according to the ledger.
    pub restocked: i64,
    /// Pieces sent to other places, according to the ledger.
    pub sent: i64,
    /// Pieces received from other places, according to the ledger.
    pub received: i64,
    /// The number of the last event about this level (subject `<place>/<product>`).
    pub last_sequence: i64,
}

/// Pieces of a product that have left one place and not arrived at another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitFact {
    /// The product.
    pub product_id: String,
    /// The destination.
    pub place_id: String,
    /// The number of pieces.
    pub pieces: i64,
}

/// The stock of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationFact {
    /// The order.
    pub order_id: String,
    /// The place; none for a tombstone.
    pub place_id: Option<String>,
    /// `held`, `committed` or `released`.
    pub state: &'static str,
    /// Its lines, one for each product.
    pub lines: Vec<LineFact>,
    /// The number of the last event about this order's stock.
    pub last_sequence: i64,
    /// The time of creation, in microseconds since 1970.
    pub created_at: i64,
    /// The time of the last change, in microseconds since 1970.
    pub updated_at: i64,
}

/// One product of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFact {
    /// The product.
    pub product_id: String,
    /// Pieces reserved or sold.
    pub quantity: i64,
    /// The sold pieces that were put back.
    pub restocked: i64,
}

/// Reads the facts from the store at this URL; the service need not run.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut facts = Facts {
        levels: store::lists::level_totals(&mut tx).await?.into_iter().map(LevelFact::from).collect(),
        replenishments: store::replenishments::sequences(&mut tx).await?,
        ..Facts::default()
    };
    facts.in_transit = store::replenishments::in_transit(&mut tx, None)
        .await?
        .into_iter()
        .map(|(key, pieces)| TransitFact { product_id: key.product_id.into(), place_id: key.place_id.into(), pieces })
        .collect();
    let mut after = String::new();
    loop {
        let page = store::unit_of_work::audit_page(&mut tx, &after, PAGE_SIZE).await?;
        let Some(last) = page.last() else { break };
        after = last.order_id.as_str().to_owned();
        facts.reservations.extend(page.into_iter().map(ReservationFact::from));
    }
    facts.released_before = upkeep::pruned_before(&mut tx, "reservations").await?;
    facts.outbox = bus::outbox::dump(&mut tx).await?;
    facts.inbox = bus::inbox::dump(&mut tx).await?;
    Ok(facts)
}

impl From<store::lists::LevelTotals> for LevelFact {
    fn from(totals: store::lists::LevelTotals) -> Self {
        Self {
            product_id: totals.key.product_id.into(),
            place_id: totals.key.place_id.into(),
            on_hand: totals.level.on_hand,
            reserved: totals.level.reserved,
            adjusted: totals.adjusted,
            sold: totals.sold,
            restocked: totals.restocked,
            sent: totals.sent,
            received: totals.received,
            last_sequence: totals.level.sequence,
        }
    }
}

impl From<crate::domain::Reservation> for ReservationFact {
    fn from(reservation: crate::domain::Reservation) -> Self {
        let lines = reservation.lines.into_iter().map(|(product_id, line)| LineFact {
            product_id: product_id.into(),
            quantity: line.quantity,
            restocked: line.restocked,
        });
        Self {
            order_id: reservation.order_id.into(),
            place_id: reservation.place_id.map(Into::into),
            state: reservation.state.as_str(),
            lines: lines.collect(),
            last_sequence: reservation.sequence,
            created_at: reservation.created_at.micros(),
            updated_at: reservation.updated_at.micros(),
        }
    }
}

/// What the store at `url` knows of the goods of one order, with the times; empty if it does not know it.
pub async fn history(url: &str, order_id: &str) -> anyhow::Result<Vec<(Timestamp, String)>> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut history = store::lists::movements_of(&mut tx, order_id).await?;
    let mut unit = UnitOfWork::default();
    store::unit_of_work::load(&mut tx, LoadSet { orders: [order_id].into(), ..LoadSet::default() }, &mut unit).await?;
    for reservation in unit.reservations.into_values().map(ReservationFact::from) {
        let place = reservation.place_id.as_deref().unwrap_or("no place");
        let line = |line: &LineFact| format!("{} of {} ({} put back)", line.quantity, line.product_id, line.restocked);
        let lines: Vec<String> = reservation.lines.iter().map(line).collect();
        let text = format!("reservation at {place} {}: {}", reservation.state, lines.join(", "));
        history.push((Timestamp::from_micros(reservation.updated_at), text));
        history.push((Timestamp::from_micros(reservation.created_at), "reservation recorded".into()));
    }
    history.extend(bus::outbox::history(&mut tx, "stock", order_id).await?);
    history.extend(bus::inbox::last_effect(&mut tx, "orders", order_id).await?);
    drop(tx);
    db.close().await;
    Ok(history)
}
