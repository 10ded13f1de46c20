//! How much of a product is in a place.

use commerce::{PlaceId, ProductId, Timestamp};

/// Most pieces of one product in one place: far beyond any shop, far below what overflows.
const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// A product in a place. Ordered by place, then product: the order in which rows are locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StockKey {
    pub(crate) place_id: PlaceId,
    pub(crate) product_id: ProductId,
}

/// How much is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Level {
    /// Pieces in the place.
    pub(crate) on_hand: i64,
    /// Of these, set aside for orders.
    pub(crate) reserved: i64,
    /// Below so many available, people are told.
    pub(crate) threshold: Option<i64>,
    /// Events told so far.
    pub(crate) sequence: i64,
}

impl Level {
    /// What can still be promised.
    pub(crate) const fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }

    /// Whether people are to be told, seen alone.
    pub(crate) fn is_low(&self) -> bool {
        self.threshold.is_some_and(|threshold| self.available() < threshold)
    }

    /// What is on hand after a change, if that may be: never below what is reserved.
    pub(crate) fn after(&self, delta: i64) -> Option<i64> {
        self.on_hand.checked_add(delta).filter(|on_hand| (self.reserved..=MAX_ON_HAND).contains(on_hand))
    }
}

/// What somebody wants put in or taken out by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdjustmentRequest {
    pub(crate) id: String,
    pub(crate) key: StockKey,
    pub(crate) delta: i64,
    pub(crate) reason: String,
    pub(crate) actor: String,
}

/// What was put in or taken out by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adjustment {
    pub(crate) request: AdjustmentRequest,
    /// On hand after it.
    pub(crate) balance: i64,
    pub(crate) at: Timestamp,
}

/// Why a request cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdjustmentRejection {
    /// There is no such place.
    #[error("there is no place {place_id}")]
    UnknownPlace {
        /// Which of several requests.
        index: usize,
        place_id: PlaceId,
    },
    /// It would leave less than is promised to orders.
    #[error(
        "{delta} would leave less of {product_id} than the {reserved} reserved of {on_hand} on hand, or more than can be counted"
    )]
    BelowReserved { index: usize, product_id: ProductId, delta: i64, on_hand: i64, reserved: i64 },
    /// The id was used for something else.
    #[error("adjustment {id} was made before with another content")]
    Reused { id: String },
}

/// What moves goods.
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
    /// The word on the wire and in the store.
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

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Movement {
    pub(crate) key: StockKey,
    pub(crate) kind: MovementKind,
    /// Signed: what came in is above zero.
    pub(crate) quantity: i64,
    /// On hand after it.
    pub(crate) balance: i64,
    /// The order or adjustment.
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) actor: String,
}
