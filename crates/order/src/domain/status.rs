//! State and status of an order: the saga sets the state, staff changes the status.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of an order's checkout.
///
/// `CREATED`: the order is stored. `STOCK_CHECKED` and `STOCK_RESERVED`: the stock is reserved. `PAID`: the payment is
/// captured; skipped when nothing is charged. `CONFIRMED` and `CANCELLED` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[schema(as = State)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SagaState {
    /// The order is stored.
    Created,
    /// The stock was checked, by the attempt to reserve it.
    StockChecked,
    /// The stock is reserved.
    StockReserved,
    /// The payment is captured. Skipped when nothing is charged.
    Paid,
    /// Final: stock and payment are settled.
    Confirmed,
    /// Final: nothing is reserved and nothing charged.
    Cancelled,
}

impl SagaState {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::StockChecked => "STOCK_CHECKED",
            Self::StockReserved => "STOCK_RESERVED",
            Self::Paid => "PAID",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Parses a wire name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::StockChecked, Self::StockReserved, Self::Paid, Self::Confirmed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// The status of an order.
///
/// `pending`: the checkout is running. `confirmed`: stock and payment are settled. `processing`, `shipped` and `delivered`
/// are set by staff, in this order. `cancelled`: stock and payment are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The checkout is running.
    Pending,
    /// Stock and payment are settled. Set by the checkout only.
    Confirmed,
    /// Being packed.
    Processing,
    /// On its way.
    Shipped,
    /// With the customer.
    Delivered,
    /// Cancelled: stock and payment are undone.
    Cancelled,
}

impl Status {
    /// All, in the order in which an order passes them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Confirmed, Self::Processing, Self::Shipped, Self::Delivered, Self::Cancelled];

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Processing => "processing",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }

    /// Parses a wire name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether staff may change this status to `to`. Cancellation has a rule of its own ([`Status::may_cancel`]); only the
    /// saga confirms.
    pub const fn may_become(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Confirmed, Self::Processing) | (Self::Processing, Self::Shipped) | (Self::Shipped, Self::Delivered)
        )
    }

    /// Whether an order of this status may be cancelled.
    pub const fn may_cancel(self) -> bool {
        matches!(self, Self::Pending | Self::Confirmed | Self::Processing)
    }

    /// Whether goods of an order of this status may be returned.
    pub const fn may_return(self) -> bool {
        matches!(self, Self::Confirmed | Self::Processing | Self::Shipped | Self::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staff_moves_an_order_one_step_forward_and_nowhere_else() {
        let changes: Vec<(Status, Status)> = Status::ALL
            .into_iter()
            .flat_map(|from| Status::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .collect();
        assert_eq!(
            changes,
            [
                (Status::Confirmed, Status::Processing),
                (Status::Processing, Status::Shipped),
                (Status::Shipped, Status::Delivered),
            ]
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(SagaState::parse("STOCK_RESERVED"), Some(SagaState::StockReserved));
        assert_eq!(SagaState::parse("stock_reserved"), None);
    }
}
