//! The stock that is reserved for, or was sold to, one order.

use std::collections::BTreeMap;

use commerce::{OrderId, PlaceId, ProductId, Timestamp};

/// The state of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReservationState {
    /// Reserved.
    Held,
    /// Sold.
    Committed,
    /// Given back, or refused before it was made.
    Released,
}

impl ReservationState {
    /// The name on the wire and in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Committed => "committed",
            Self::Released => "released",
        }
    }

    /// Reads a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Held, Self::Committed, Self::Released].into_iter().find(|state| state.as_str() == name)
    }
}

/// The stock that an order asks for. Lines of one product are added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReservationRequest {
    pub(crate) order_id: OrderId,
    pub(crate) place_id: PlaceId,
    pub(crate) lines: BTreeMap<ProductId, i64>,
}

/// One product of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReservationLine {
    pub(crate) quantity: i64,
    /// The sold pieces that were put back.
    pub(crate) restocked: i64,
}

/// The stock of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) order_id: OrderId,
    /// None for a tombstone.
    pub(crate) place_id: Option<PlaceId>,
    pub(crate) state: ReservationState,
    pub(crate) lines: BTreeMap<ProductId, ReservationLine>,
    /// The number of the last event about this reservation.
    pub(crate) sequence: i64,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A product of which too few pieces are available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) product_id: ProductId,
    pub(crate) requested: i64,
    pub(crate) available: i64,
}
