//! The commands that change stock, and the outcome of each.

use std::{collections::BTreeMap, time::Duration};

use commerce::{OrderId, PlaceId, ProductId};
use idempotency::KeyedRequest;

use crate::{
    domain::{
        Adjustment, AdjustmentRejection, AdjustmentRequest, Level, ReservationRequest, ReservationState, Reserved,
        StockKey,
    },
    error::Error,
    store::unit_of_work::LoadSet,
};

/// A change of stock that a caller or an event asks for.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Reserves all lines of an order, or none.
    Reserve(ReservationRequest),
    /// Releases the reservation of an order.
    Release(OrderId),
    /// Turns the reservation of an order into a sale.
    Commit(OrderId),
    /// Releases what a cancelled order holds, and restocks what was sold to it.
    Cancel(OrderId),
    /// Puts sold goods back.
    Restock { order_id: OrderId, lines: BTreeMap<ProductId, i64>, reason: String },
    /// Postpones the expiry of a reservation.
    ExtendHold { order_id: OrderId, pause: Duration },
    /// Applies all adjustments, or none; under the caller's idempotency key, if there is one.
    Adjust { requests: Vec<AdjustmentRequest>, keyed: Option<KeyedRequest> },
    /// Adjusts a level so that this quantity is available, by the adjustment with this id.
    SetAvailable { id: String, key: StockKey, available: i64, reason: String, actor: String },
    /// Sets the threshold below which a level is low.
    SetThreshold { key: StockKey, threshold: Option<i64> },
}

/// What a command has done.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Reserved(Reserved),
    /// The state of the reservation after the release.
    Released(ReservationState),
    /// The state of the reservation after the commit; none where nothing was ever reserved.
    Committed(Option<ReservationState>),
    Cancelled,
    /// The pieces that could not be put back.
    Restocked(Vec<(ProductId, i64)>),
    HoldExtended,
    Adjusted(Vec<Adjustment>),
    /// The level after the change.
    LevelSet(Level),
    /// The command was refused and changed nothing. The other commands of its batch are not affected.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    Adjustment(AdjustmentRejection),
    /// The idempotency key was used for another request.
    KeyReused,
    UnknownPlace(PlaceId),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Adjustment(rejection) => Self::Adjustment(rejection),
            Refusal::KeyReused => idempotency::Reused.into(),
            Refusal::UnknownPlace(place_id) => Self::UnknownPlace(place_id.to_string()),
        }
    }
}

impl Command {
    /// Adds what the command reads to what its transaction loads.
    pub(crate) fn add_to<'a>(&'a self, load_set: &mut LoadSet<'a>) {
        match self {
            Self::Reserve(request) => load_set.add_reservation(request),
            Self::Release(order_id)
            | Self::Commit(order_id)
            | Self::Cancel(order_id)
            | Self::Restock { order_id, .. }
            | Self::ExtendHold { order_id, .. } => {
                load_set.orders.insert(order_id.as_str());
            }
            Self::Adjust { requests, .. } => {
                for request in requests {
                    load_set.adjustments.insert(&request.id);
                    load_set.add_level(&request.key);
                }
            }
            Self::SetAvailable { id, key, .. } => {
                load_set.adjustments.insert(id);
                load_set.add_level(key);
            }
            Self::SetThreshold { key, .. } => load_set.add_level(key),
        }
    }
}
