//! Goods that come back, and the money for them.

use commerce::{Amount, LineId, OrderId, ProductId, Quantity, ReturnId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Order;

/// A return, in the shape in which everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Return {
    /// Opaque, or chosen by the client.
    pub id: ReturnId,
    /// Of which order.
    pub order_id: OrderId,
    /// What came back.
    pub lines: Vec<ReturnLine>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the goods go back on the shelf.
    pub restock: bool,
    /// The money.
    pub refund: Refund,
    /// When.
    pub created_at: Timestamp,
}

/// Pieces of a line that came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReturnLine {
    /// Which line.
    pub line_id: LineId,
    /// Its product, if it is of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<ProductId>,
    /// How many.
    pub quantity: Quantity,
}

/// The money of a return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refund {
    /// What is given back: the pieces' price, never more than is left of what was captured.
    pub amount: Amount,
    /// Where it stands.
    pub status: RefundStatus,
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Nothing was charged, so nothing is given back.
    None,
    /// Decided, not yet done.
    Pending,
    /// The money is back.
    Done,
    /// The payment service refused for good; a person has to look.
    Refused,
}

impl RefundStatus {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// What somebody wants to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedReturn {
    /// The return's id.
    pub id: ReturnId,
    /// Lines and pieces.
    pub lines: Vec<(LineId, Quantity)>,
    /// Why.
    pub reason: Option<String>,
    /// Whether the goods go back on the shelf.
    pub restock: bool,
}

/// Why goods cannot come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReturnRefused {
    /// The order's status takes no returns.
    Status,
    /// The order has no such line: position in the request.
    UnknownLine(usize),
    /// More than was bought less what came back: position in the request, and what is left.
    TooMany(usize, u32),
}

/// Takes the pieces back on the order and says what is refunded, given what earlier returns refund.
pub fn plan_return(
    order: &mut Order,
    wanted: WantedReturn,
    refunded: Amount,
    now: Timestamp,
) -> Result<Return, ReturnRefused> {
    if !order.status.may_return() {
        return Err(ReturnRefused::Status);
    }
    let mut price = Amount::ZERO;
    let mut lines = Vec::with_capacity(wanted.lines.len());
    for (position, (line_id, quantity)) in wanted.lines.into_iter().enumerate() {
        let line =
            order.lines.iter_mut().find(|line| line.line_id == line_id).ok_or(ReturnRefused::UnknownLine(position))?;
        let left = line.quantity.get() - line.returned;
        if quantity.get() > left {
            return Err(ReturnRefused::TooMany(position, left));
        }
        line.returned += quantity.get();
        // A part of a line that fits an amount fits one too.
        let part = line.unit_price.checked_mul(quantity).unwrap_or(Amount::ZERO);
        price = price.checked_add(part).unwrap_or(price);
        lines.push(ReturnLine { line_id, product_id: line.product_id.clone(), quantity });
    }
    let left = order.total.checked_sub(refunded).unwrap_or(Amount::ZERO).max(Amount::ZERO);
    let refund = if order.is_charged() { price.min(left) } else { Amount::ZERO };
    Ok(Return {
        id: wanted.id,
        order_id: order.id.clone(),
        lines,
        reason: wanted.reason,
        restock: wanted.restock,
        refund: Refund {
            amount: refund,
            status: if refund > Amount::ZERO { RefundStatus::Pending } else { RefundStatus::None },
        },
        created_at: now,
    })
}
