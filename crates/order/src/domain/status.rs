//! Where an order stands: `state` is the saga's, `status` is what people move.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far the checkout saga has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Accepted and durable.
    Created,
    /// The stock was looked at; what reserving finds.
    StockChecked,
    /// The stock is held for this order.
    StockReserved,
    /// The money is captured. Skipped where nothing is charged.
    Paid,
    /// Final: everything is the customer's.
    Confirmed,
    /// Final: nothing is held and nothing charged.
    Cancelled,
}

impl State {
    /// As it is written.
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

    /// Reads what [`State::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::StockChecked, Self::StockReserved, Self::Paid, Self::Confirmed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// What people see and move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The saga is running.
    Pending,
    /// Stock and money are settled; only the saga sets this.
    Confirmed,
    /// Being packed.
    Processing,
    /// On its way.
    Shipped,
    /// With the customer.
    Delivered,
    /// Undone.
    Cancelled,
}

impl Status {
    /// All, in the order of an order's life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Confirmed, Self::Processing, Self::Shipped, Self::Delivered, Self::Cancelled];

    /// As it is written.
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

    /// Reads what [`Status::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether people may move an order from here to `to`. Cancelling has rules of its own
    /// ([`Status::may_cancel`]); only the saga confirms.
    pub const fn may_become(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Confirmed, Self::Processing) | (Self::Processing, Self::Shipped) | (Self::Shipped, Self::Delivered)
        )
    }

    /// Whether an order that stands here may still be cancelled.
    pub const fn may_cancel(self) -> bool {
        matches!(self, Self::Pending | Self::Confirmed | Self::Processing)
    }

    /// Whether goods of an order that stands here may come back.
    pub const fn may_return(self) -> bool {
        matches!(self, Self::Confirmed | Self::Processing | Self::Shipped | Self::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_move_an_order_one_step_forward_and_nowhere_else() {
        let moves: Vec<(Status, Status)> = Status::ALL
            .into_iter()
            .flat_map(|from| Status::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .collect();
        assert_eq!(
            moves,
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
        assert_eq!(State::parse("STOCK_RESERVED"), Some(State::StockReserved));
        assert_eq!(State::parse("stock_reserved"), None);
    }
}
