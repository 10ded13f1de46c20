//! The changes that the service publishes.

use commerce::ProductId;

use super::{
    level::{Adjustment, Level, StockKey},
    reservation::Reservation,
};

/// A change that the service publishes, with the state after it.
#[derive(Debug, Clone)]
pub(crate) enum DomainEvent {
    Reserved(Reservation),
    Released(Reservation),
    Sold(Reservation),
    Restocked {
        reservation: Reservation,
        lines: Vec<(ProductId, i64)>,
        reason: String,
    },
    Adjusted {
        level: Level,
        adjustment: Adjustment,
    },
    /// The level has fallen below its threshold.
    Low {
        key: StockKey,
        level: Level,
    },
}

impl DomainEvent {
    /// The subject of the event: the order id, or `place/product`. An id contains no slash, so no order has the subject of a
    /// level.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Reserved(reservation)
            | Self::Released(reservation)
            | Self::Sold(reservation)
            | Self::Restocked { reservation, .. } => reservation.order_id.to_string(),
            Self::Adjusted { adjustment, .. } => adjustment.request.key.to_string(),
            Self::Low { key, .. } => key.to_string(),
        }
    }

    /// The number of the event among those of its subject, from 1.
    pub(crate) fn sequence(&self) -> i64 {
        match self {
            Self::Reserved(reservation)
            | Self::Released(reservation)
            | Self::Sold(reservation)
            | Self::Restocked { reservation, .. } => reservation.sequence,
            Self::Adjusted { level, .. } | Self::Low { level, .. } => level.sequence,
        }
    }
}
