//! Goods that a place requests from another one: requested, approved or refused, in transit, received. Pieces in transit
//! are in neither level.

use commerce::{PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::level::StockKey;

/// The stage of a replenishment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplenishmentStage {
    /// A person or the service asked for the goods.
    Requested,
    /// An admin agreed; the goods can be dispatched.
    Approved,
    /// An admin declined; final.
    Refused,
    /// The goods have left and not all have arrived.
    InTransit,
    /// All have arrived, or the rest is booked as a difference; final.
    Received,
}

impl ReplenishmentStage {
    pub(crate) const ALL: [Self; 5] = [Self::Requested, Self::Approved, Self::Refused, Self::InTransit, Self::Received];

    /// The name on the wire and in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::InTransit => "in_transit",
            Self::Received => "received",
        }
    }

    /// Reads a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// A request for goods, with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replenishment {
    pub(crate) id: String,
    /// The number that people use, from 1.
    pub(crate) number: i64,
    pub(crate) product_id: ProductId,
    pub(crate) from: PlaceId,
    pub(crate) to: PlaceId,
    /// The requested pieces.
    pub(crate) quantity: i64,
    pub(crate) stage: ReplenishmentStage,
    /// The pieces that have left.
    pub(crate) shipped: i64,
    /// The pieces counted on arrival so far.
    pub(crate) received: i64,
    /// Requested by the service because the level was low, not by a person.
    pub(crate) automatic: bool,
    pub(crate) reason: Option<String>,
    pub(crate) history: Vec<ReplenishmentStep>,
    /// The number of changes, and of the last event.
    pub(crate) sequence: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A step in the history of a replenishment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReplenishmentStep {
    /// The stage after this step.
    pub(crate) stage: ReplenishmentStage,
    pub(crate) at: Timestamp,
    /// Who did it.
    pub(crate) actor: String,
    /// The pieces sent or received with this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quantity: Option<i64>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A transition that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transition {
    Approve,
    Refuse {
        reason: String,
    },
    Dispatch,
    /// Pieces have arrived. `last`: no more will follow; `may_differ`: the person may book a difference to what had left.
    Receive {
        quantity: i64,
        last: bool,
        may_differ: bool,
    },
}

/// What a transition does to the levels of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoodsMovement {
    None,
    /// These pieces leave the one place.
    Leave(i64),
    /// `booked` of the pieces in transit arrive at the other; the count differs from them by `difference`.
    Arrive {
        booked: i64,
        difference: i64,
    },
}

/// Why a transition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransitionError {
    /// The stage does not allow it.
    #[error("a replenishment that is {} cannot be {what}", .stage.as_str())]
    Stage { stage: ReplenishmentStage, what: &'static str },
    /// The count differs from what had left, and the person may not book a difference.
    #[error("{open} pieces are in transit; a difference is for the store's manager")]
    Differs { open: i64 },
    /// Far more pieces were counted than had left.
    #[error("{open} pieces are in transit, and far more were counted")]
    TooMany { open: i64 },
    /// Too few pieces are available to send.
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

    /// The pieces that have left and not arrived.
    pub(crate) fn in_transit(&self) -> i64 {
        if self.stage == ReplenishmentStage::InTransit { self.shipped - self.received } else { 0 }
    }

    /// How many pieces more (below zero: less) than had left were counted, once all are received.
    pub(crate) fn difference(&self) -> i64 {
        if self.stage == ReplenishmentStage::Received { self.received - self.shipped } else { 0 }
    }

    /// Applies a transition. Returns nothing where it was applied before. The caller checks that goods that leave are available.
    pub(crate) fn apply(
        &mut self,
        transition: &Transition,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<GoodsMovement>, TransitionError> {
        let refused = |what| Err(TransitionError::Stage { stage: self.stage, what });
        let (stage, goods, quantity, reason) = match (transition, self.stage) {
            (Transition::Approve, ReplenishmentStage::Approved)
            | (Transition::Refuse { .. }, ReplenishmentStage::Refused)
            | (Transition::Dispatch, ReplenishmentStage::InTransit) => return Ok(None),
            (Transition::Approve, ReplenishmentStage::Requested) => {
                (ReplenishmentStage::Approved, GoodsMovement::None, None, None)
            }
            (Transition::Refuse { reason }, ReplenishmentStage::Requested | ReplenishmentStage::Approved) => {
                (ReplenishmentStage::Refused, GoodsMovement::None, None, Some(reason.clone()))
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
