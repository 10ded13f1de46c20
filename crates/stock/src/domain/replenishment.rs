//! Goods that one place asks of another: requested, approved or refused, in transit, received. What is in transit belongs
//! to neither place.

use commerce::{PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::level::StockKey;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplenishmentStage {
    Requested,
    Approved,
    Refused,
    InTransit,
    Received,
}

impl ReplenishmentStage {
    pub(crate) const ALL: [Self; 5] = [Self::Requested, Self::Approved, Self::Refused, Self::InTransit, Self::Received];

    /// The word on the wire and in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::InTransit => "in_transit",
            Self::Received => "received",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}

/// One request for goods and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replenishment {
    pub(crate) id: String,
    /// Counts them from 1.
    pub(crate) number: i64,
    pub(crate) product_id: ProductId,
    pub(crate) from: PlaceId,
    pub(crate) to: PlaceId,
    /// Pieces asked for.
    pub(crate) quantity: i64,
    pub(crate) stage: ReplenishmentStage,
    /// Pieces that left.
    pub(crate) shipped: i64,
    /// Pieces counted on arrival so far.
    pub(crate) received: i64,
    /// Made because the level was low, not by a person.
    pub(crate) automatic: bool,
    pub(crate) reason: Option<String>,
    pub(crate) history: Vec<ReplenishmentStep>,
    /// Counts changes from 1, and its events.
    pub(crate) sequence: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// What was done with it, when and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReplenishmentStep {
    /// Where it stood then.
    pub(crate) stage: ReplenishmentStage,
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    /// Pieces sent or received with this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quantity: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What somebody wants done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transition {
    Approve,
    Refuse {
        reason: String,
    },
    Dispatch,
    /// So many arrived; `last`: no more will; `may_differ`: who counted may say that it is more or less than had left.
    Receive {
        quantity: i64,
        last: bool,
        may_differ: bool,
    },
}

/// What a move does to the goods of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoodsMovement {
    /// Nothing.
    Stay,
    /// So many leave the one place.
    Leave(i64),
    /// So many of those that left arrive at the other; then what was counted differs from it by `difference`.
    Arrive { booked: i64, difference: i64 },
}

/// Why a move cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransitionError {
    /// Its stage does not allow it.
    #[error("a replenishment that is {} cannot be {what}", .stage.as_str())]
    Stage { stage: ReplenishmentStage, what: &'static str },
    /// What was counted differs from what had left, and who counted may not say so.
    #[error("{open} pieces are in transit; a difference is for the store's manager")]
    Differs { open: i64 },
    /// Far more was counted than had left.
    #[error("{open} pieces are in transit, and far more are said to have come")]
    TooMany { open: i64 },
    /// There are not enough pieces to send.
    #[error("{available} of {quantity} pieces of {product_id} are available at {place_id}")]
    Short { product_id: ProductId, place_id: PlaceId, quantity: i64, available: i64 },
}

impl Replenishment {
    /// A new request.
    pub(crate) fn requested(id: String, from: PlaceId, key: StockKey, quantity: i64, by: &str, now: Timestamp) -> Self {
        let step = ReplenishmentStep {
            stage: ReplenishmentStage::Requested,
            at: now,
            actor: by.to_owned(),
            quantity: None,
            reason: None,
        };
        Self {
            id,
            number: 0,
            product_id: key.product_id,
            from,
            to: key.place_id,
            quantity,
            stage: ReplenishmentStage::Requested,
            shipped: 0,
            received: 0,
            automatic: false,
            reason: None,
            history: vec![step],
            sequence: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// Pieces that have left and not arrived.
    pub(crate) fn in_transit(&self) -> i64 {
        if self.stage == ReplenishmentStage::InTransit { self.shipped - self.received } else { 0 }
    }

    /// Pieces counted more (or, below zero, less) than had left, once all is received.
    pub(crate) fn difference(&self) -> i64 {
        if self.stage == ReplenishmentStage::Received { self.received - self.shipped } else { 0 }
    }

    /// Makes a move; nothing where it was made before. Goods that leave must be there, which the caller sees to.
    pub(crate) fn apply(
        &mut self,
        wanted: &Transition,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<GoodsMovement>, TransitionError> {
        let refused = |what| Err(TransitionError::Stage { stage: self.stage, what });
        let (stage, goods, quantity, reason) = match (wanted, self.stage) {
            (Transition::Approve, ReplenishmentStage::Approved)
            | (Transition::Refuse { .. }, ReplenishmentStage::Refused)
            | (Transition::Dispatch, ReplenishmentStage::InTransit) => return Ok(None),
            (Transition::Approve, ReplenishmentStage::Requested) => {
                (ReplenishmentStage::Approved, GoodsMovement::Stay, None, None)
            }
            (Transition::Refuse { reason }, ReplenishmentStage::Requested | ReplenishmentStage::Approved) => {
                (ReplenishmentStage::Refused, GoodsMovement::Stay, None, Some(reason.clone()))
            }
            (Transition::Dispatch, ReplenishmentStage::Approved) => {
                self.shipped = self.quantity;
                (ReplenishmentStage::InTransit, GoodsMovement::Leave(self.quantity), Some(self.quantity), None)
            }
            (Transition::Receive { quantity, last, may_differ }, ReplenishmentStage::InTransit) => {
                let open = self.shipped - self.received;
                if *quantity > open.saturating_mul(2).saturating_add(100) {
                    return Err(TransitionError::TooMany { open });
                }
                if !may_differ && (*quantity > open || (*last && *quantity < open)) {
                    return Err(TransitionError::Differs { open });
                }
                self.received += quantity;
                let (stage, goods) = if *last || *quantity >= open {
                    (ReplenishmentStage::Received, GoodsMovement::Arrive { booked: open, difference: quantity - open })
                } else {
                    (ReplenishmentStage::InTransit, GoodsMovement::Arrive { booked: *quantity, difference: 0 })
                };
                (stage, goods, Some(*quantity), None)
            }
            (Transition::Approve, _) => return refused("approved"),
            (Transition::Refuse { .. }, _) => return refused("refused"),
            (Transition::Dispatch, _) => return refused("sent"),
            (Transition::Receive { .. }, _) => return refused("received"),
        };
        self.stage = stage;
        self.reason = reason.clone().or(self.reason.take());
        self.history.push(ReplenishmentStep { stage, at: now, actor: actor.to_owned(), quantity, reason });
        self.sequence += 1;
        self.updated_at = now;
        Ok(Some(goods))
    }
}

#[cfg(test)]
#[path = "replenishment_tests.rs"]
mod tests;
