//! Returned goods and their refunds.

use commerce::{Amount, LineId, OrderId, ProductId, Quantity, ReturnId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Order;

/// A return of goods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Return {
    /// The return's id: generated, or chosen by the client.
    pub id: ReturnId,
    /// The order.
    pub order_id: OrderId,
    /// The returned lines.
    pub lines: Vec<ReturnLine>,
    /// The reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the goods are put back into stock.
    pub restock: bool,
    /// The refund.
    pub refund: Refund,
    /// When the return was created.
    pub created_at: Timestamp,
}

/// Returned pieces of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReturnLine {
    /// The line of the order.
    pub line_id: LineId,
    /// The product; missing for an ad-hoc line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<ProductId>,
    /// Returned pieces.
    pub quantity: Quantity,
}

/// The refund of a return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refund {
    /// The refunded amount: the price of the pieces, at most what is left of the captured payment.
    pub amount: Amount,
    /// The status of the refund.
    pub status: RefundStatus,
}

/// The status of a refund.
///
/// `none`: nothing was charged. `pending`: the refund is requested. `done`: the money is refunded. `refused`: the payment
/// service refused, and staff has to resolve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Nothing was charged, so nothing is refunded.
    None,
    /// The refund is requested.
    Pending,
    /// The refund is done.
    Done,
    /// The payment service refused the refund; staff has to resolve it.
    Refused,
}

impl RefundStatus {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// A return before it is checked against its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnDraft {
    /// The return's id.
    pub id: ReturnId,
    /// Lines and pieces.
    pub lines: Vec<(LineId, Quantity)>,
    /// The reason.
    pub reason: Option<String>,
    /// Whether the goods are put back into stock.
    pub restock: bool,
    /// Whether all that is left of the total is refunded, with costs that belong to no line, such as shipping.
    pub refund_all: bool,
}

/// Why goods cannot be returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReturnError {
    /// The order's status does not allow returns.
    Status,
    /// The order has no such line: index in the request.
    UnknownLine(usize),
    /// More pieces than are left: index in the request, and what is left.
    TooMany(usize, u32),
}

/// Records the returned pieces on the order and makes the return. `refunded` is the amount that earlier returns refund.
pub fn plan_return(
    order: &mut Order,
    draft: ReturnDraft,
    refunded: Amount,
    now: Timestamp,
) -> Result<Return, ReturnError> {
    if !order.status.may_return() {
        return Err(ReturnError::Status);
    }
    let mut price = Amount::ZERO;
    let mut lines = Vec::with_capacity(draft.lines.len());
    for (index, (line_id, quantity)) in draft.lines.into_iter().enumerate() {
        let line =
            order.lines.iter_mut().find(|line| line.line_id == line_id).ok_or(ReturnError::UnknownLine(index))?;
        let left = line.quantity.get() - line.returned;
        if quantity.get() > left {
            return Err(ReturnError::TooMany(index, left));
        }
        line.returned += quantity.get();
        // The price of the whole line fits an amount, so that of a part does.
        let part = line.unit_price.checked_mul(quantity).unwrap_or(Amount::ZERO);
        price = price.checked_add(part).unwrap_or(price);
        lines.push(ReturnLine { line_id, product_id: line.product_id.clone(), quantity });
    }
    let left = order.total.checked_sub(refunded).unwrap_or(Amount::ZERO).max(Amount::ZERO);
    let asked = if draft.refund_all { left } else { price.min(left) };
    let refund = if order.is_charged() { asked } else { Amount::ZERO };
    Ok(Return {
        id: draft.id,
        order_id: order.id.clone(),
        lines,
        reason: draft.reason,
        restock: draft.restock,
        refund: Refund {
            amount: refund,
            status: if refund > Amount::ZERO { RefundStatus::Pending } else { RefundStatus::None },
        },
        created_at: now,
    })
}
