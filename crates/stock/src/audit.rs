//! The facts about stock that the auditor checks, independent of the schema.

use std::collections::HashMap;

use bus::{LastEvents, outbox::OutboxDump};
use commerce::Timestamp;
use db::{Db, Options, Tx};
use serde::Deserialize;

use crate::{
    domain::UnitOfWork,
    events::{self, ReplenishmentBody, ReservationBody},
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
    /// Of places and replenishments: the highest number, and the last number that was given.
    pub numbers: [(&'static str, i64, i64); 2],
    /// Reservations released before this time may have been deleted; none if none was.
    pub released_before: Option<Timestamp>,
    /// The events in the outbox.
    pub outbox: bus::outbox::OutboxDump,
    /// The last event of each aggregate that took effect.
    pub inbox: bus::inbox::InboxDump,
    /// Reservations and replenishments compared with their events.
    pub comparison: bus::Comparison,
    /// What contradicts within the store, for people.
    pub contradictions: Vec<String>,
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
    let outbox = bus::outbox::dump(&mut tx).await?;
    let mut events = LastEvents::of(&outbox);
    let mut facts = Facts {
        levels: store::lists::level_totals(&mut tx).await?.into_iter().map(LevelFact::from).collect(),
        numbers: store::lists::numbers(&mut tx).await?,
        ..Facts::default()
    };
    for known in store::replenishments::all(&mut tx).await? {
        let subject = events::replenishment_subject(&known.id);
        events.compare(events::TOPIC, &subject, known.sequence, &ReplenishmentBody::from(&known), &[]);
        facts.replenishments.push((known.id, known.sequence));
    }
    let in_transit = store::replenishments::in_transit(&mut tx, None).await?.into_iter();
    facts.in_transit = in_transit
        .map(|(key, pieces)| TransitFact { product_id: key.product_id.into(), place_id: key.place_id.into(), pieces })
        .collect();
    let mut after = String::new();
    loop {
        let page = store::unit_of_work::audit_page(&mut tx, &after, PAGE_SIZE).await?;
        let Some(last) = page.last() else { break };
        after = last.order_id.as_str().to_owned();
        for known in &page {
            let body = ReservationBody::from(known);
            // A change of the expiry has no event, and the others tell of one change.
            let apart = ["updated_at", "restocked", "reason"];
            events.compare(events::TOPIC, known.order_id.as_str(), known.sequence, &body, &apart);
        }
        facts.reservations.extend(page.into_iter().map(ReservationFact::from));
    }
    told_adjustments(&mut tx, &outbox).await?.into_iter().for_each(|what| events.differs(what));
    facts.comparison = events.finish();
    facts.contradictions = store::contradictions::find(&mut tx).await?;
    facts.released_before = upkeep::pruned_before(&mut tx, "reservations").await?;
    facts.outbox = outbox;
    facts.inbox = bus::inbox::dump(&mut tx).await?;
    drop(tx);
    db.close().await;
    Ok(facts)
}

/// How adjustments differ from what their events say.
async fn told_adjustments(tx: &mut Tx, outbox: &OutboxDump) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Data {
        adjustment: Option<Told>,
    }
    #[derive(Deserialize)]
    struct Told {
        id: String,
        delta: i64,
    }
    let stored: HashMap<String, i64> = store::lists::adjustments(tx).await?.into_iter().collect();
    let data = |event: &bus::outbox::OutboxEvent| serde_json::from_str::<bus::Event>(&event.payload).ok()?.data().ok();
    let told = outbox.events.iter().filter(|event| event.subject.contains('/')).filter_map(data);
    Ok(told
        .filter_map(|data: Data| data.adjustment)
        .filter(|told| stored.get(&told.id) != Some(&told.delta))
        .map(|Told { id, delta }| match stored.get(&id) {
            Some(kept) => format!("adjustment {id} is {kept:+}, its event says {delta:+}"),
            None => format!("adjustment {id} of {delta:+} is gone"),
        })
        .collect())
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
