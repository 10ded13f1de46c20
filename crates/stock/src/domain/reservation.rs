//! What is set aside for, or was sold to, one order.

use std::collections::BTreeMap;

use commerce::{OrderId, PlaceId, ProductId, Timestamp};

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReservationState {
    /// Set aside.
    Held,
    /// Sold.
    Committed,
    /// Given back, or refused before it came.
    Released,
}

impl ReservationState {
    /// The word on the wire and in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Committed => "committed",
            Self::Released => "released",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Held, Self::Committed, Self::Released].into_iter().find(|state| state.as_str() == word)
    }
}

/// One product of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReservationLine {
    pub(crate) quantity: i64,
    /// Of what was sold, what came back on the shelf.
    pub(crate) restocked: i64,
}

/// The stock of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) order_id: OrderId,
    /// None where a release came first.
    pub(crate) place_id: Option<PlaceId>,
    pub(crate) state: ReservationState,
    pub(crate) lines: BTreeMap<ProductId, ReservationLine>,
    /// Events told so far.
    pub(crate) sequence: i64,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Of what there is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) product_id: ProductId,
    pub(crate) requested: i64,
    pub(crate) available: i64,
}
