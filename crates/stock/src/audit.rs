//! What the auditor is told about stock: plain facts, no schema.

use commerce::Timestamp;
use db::{Db, Options};

use crate::store;

const PAGE: i64 = 1_000;

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every level, with what the ledger says moved.
    pub levels: Vec<LevelFact>,
    /// Goods on their way to a place.
    pub in_transit: Vec<TransitFact>,
    /// The last event of each replenishment, by its id.
    pub replenishments: Vec<(String, i64)>,
    /// Every reservation, tombstones included.
    pub reservations: Vec<ReservationFact>,
    /// Reservations that were released before then may have been forgotten; none if none ever was.
    pub released_before: Option<Timestamp>,
    /// The events that the outbox keeps.
    pub outbox: bus::outbox::Telling,
    /// The last event of each aggregate that took effect here.
    pub heard: bus::inbox::Heard,
}

/// One product in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelFact {
    /// The product.
    pub product_id: String,
    /// The place.
    pub place_id: String,
    /// Pieces there.
    pub on_hand: i64,
    /// Of these, set aside.
    pub reserved: i64,
    /// What was put in less what was taken out by hand, as the ledger says.
    pub adjusted: i64,
    /// What was sold, as the ledger says.
    pub sold: i64,
    /// What came back, as the ledger says.
    pub restocked: i64,
    /// What left for other places, as the ledger says.
    pub sent: i64,
    /// What came from other places, as the ledger says.
    pub received: i64,
    /// Events told about this level (subject `<place>/<product>`).
    pub last_sequence: i64,
}

/// Pieces of a product that have left one place and not come to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitFact {
    /// The product.
    pub product_id: String,
    /// The place that they go to.
    pub place_id: String,
    /// How many.
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
    /// Its products.
    pub lines: Vec<LineFact>,
    /// Events told about this order's stock.
    pub last_sequence: i64,
    /// When it was made, in microseconds since 1970.
    pub created_at: i64,
    /// When it last changed, in microseconds since 1970.
    pub updated_at: i64,
}

/// One product of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFact {
    /// The product.
    pub product_id: String,
    /// Pieces set aside or sold.
    pub quantity: i64,
    /// Of what was sold, what came back.
    pub restocked: i64,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let mut facts = Facts {
        levels: store::lists::sums(&mut tx).await?.into_iter().map(LevelFact::from).collect(),
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
        let page = store::unit_of_work::audit_page(&mut tx, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.order_id.as_str().to_owned();
        facts.reservations.extend(page.into_iter().map(ReservationFact::from));
    }
    facts.released_before = upkeep::pruned_before(&mut tx, "reservations").await?;
    facts.outbox = bus::outbox::telling(&mut tx).await?;
    facts.heard = bus::inbox::heard(&mut tx).await?;
    Ok(facts)
}

impl From<store::lists::LevelTotals> for LevelFact {
    fn from(sums: store::lists::LevelTotals) -> Self {
        Self {
            product_id: sums.key.product_id.into(),
            place_id: sums.key.place_id.into(),
            on_hand: sums.level.on_hand,
            reserved: sums.level.reserved,
            adjusted: sums.adjusted,
            sold: sums.sold,
            restocked: sums.restocked,
            sent: sums.sent,
            received: sums.received,
            last_sequence: sums.level.sequence,
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
