//! How much of a product is in a place.

use std::fmt;

use commerce::{PlaceId, ProductId, Timestamp};

/// Most pieces of one product in one place: far beyond any shop, far below what overflows.
const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// The actor of movements that no person asked for.
pub(crate) const SYSTEM_ACTOR: &str = "souk";

/// A product in a place. Ordered by place, then product: the order in which rows are locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StockKey {
    pub(crate) place_id: PlaceId,
    pub(crate) product_id: ProductId,
}

impl StockKey {
    pub(crate) fn new(place_id: &PlaceId, product_id: &ProductId) -> Self {
        Self { place_id: place_id.clone(), product_id: product_id.clone() }
    }
}

impl fmt::Display for StockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place_id, self.product_id)
    }
}

/// The quantities of a product in a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Level {
    /// Pieces in the place.
    pub(crate) on_hand: i64,
    /// The pieces of these that are reserved for orders.
    pub(crate) reserved: i64,
    /// The level is low while fewer pieces are available.
    pub(crate) threshold: Option<i64>,
    /// The number of the last event about this level.
    pub(crate) sequence: i64,
}

impl Level {
    /// The pieces that can still be reserved.
    pub(crate) const fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }

    /// Whether fewer pieces are available than the threshold.
    pub(crate) fn is_low(&self) -> bool {
        self.threshold.is_some_and(|threshold| self.available() < threshold)
    }

    /// The pieces on hand after a change; none if the change is refused, as it would leave less than is reserved.
    pub(crate) fn after(&self, delta: i64) -> Option<i64> {
        self.on_hand.checked_add(delta).filter(|on_hand| (self.reserved..=MAX_ON_HAND).contains(on_hand))
    }
}

/// A manual change of a level that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdjustmentRequest {
    pub(crate) id: String,
    pub(crate) key: StockKey,
    pub(crate) delta: i64,
    pub(crate) reason: String,
    pub(crate) actor: String,
}

/// A manual change of a level that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adjustment {
    pub(crate) request: AdjustmentRequest,
    /// The pieces on hand after it.
    pub(crate) balance: i64,
    pub(crate) at: Timestamp,
}

/// Why an adjustment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdjustmentRejection {
    /// The place does not exist.
    #[error("there is no place {place_id}")]
    UnknownPlace {
        /// Which of several requests.
        index: usize,
        place_id: PlaceId,
    },
    /// Less than is reserved for orders would be left, or more than can be counted.
    #[error(
        "{delta} would leave less of {product_id} than the {reserved} reserved of {on_hand} on hand, or more than can be counted"
    )]
    BelowReserved { index: usize, product_id: ProductId, delta: i64, on_hand: i64, reserved: i64 },
    /// The id was used for another adjustment.
    #[error("adjustment {id} was made before with another content")]
    IdReused { id: String },
}

/// What moved goods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MovementKind {
    Adjusted,
    Sold,
    Restocked,
    /// To another place.
    Sent,
    /// From another place.
    Received,
}

impl MovementKind {
    /// The name on the wire and in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Adjusted => "adjusted",
            Self::Sold => "sold",
            Self::Restocked => "restocked",
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// A new entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Movement {
    pub(crate) key: StockKey,
    pub(crate) kind: MovementKind,
    /// Above zero: into the place; below zero: out of it.
    pub(crate) quantity: i64,
    /// The pieces on hand after it.
    pub(crate) balance: i64,
    /// The id of the order, adjustment or replenishment.
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) actor: String,
}
