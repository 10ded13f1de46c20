//! The commands that change payments, and the outcome of each.

use commerce::OrderId;

use crate::domain::{Op, OperationRequest, Payment, Resolution};

/// A change of one order's payment.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Performs an operation that a caller asks for.
    Operate(OperationRequest),
    /// Claims a payment in doubt, so that one replica at a time calls the provider about it.
    Claim(OrderId),
    /// Ends an operation in doubt as the provider has answered. Without an answer the payment can be claimed again after a pause.
    Resolve { order_id: OrderId, op: Op, op_id: String, resolution: Option<Resolution> },
}

impl Command {
    pub(crate) fn order_id(&self) -> &OrderId {
        match self {
            Self::Operate(request) => &request.order_id,
            Self::Claim(order_id) | Self::Resolve { order_id, .. } => order_id,
        }
    }
}

/// What a command has done.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Operated(Reply),
    Claimed(Claim),
    Resolved,
}

/// Whether a command has acquired the claim of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This caller calls the provider about the payment until its lease ends.
    Acquired,
    /// Nothing is in doubt, or another caller has the claim.
    NotAcquired,
}

/// The result of an operation, for its caller.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub outcome: ReplyOutcome,
    /// The payment after the operation, if there is one.
    pub payment: Option<Payment>,
    /// Acquired if the operation was recorded just now and waits for the provider.
    pub claim: Claim,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplyOutcome {
    /// It was performed.
    Done,
    /// It was not performed and never will be.
    Refused(String),
    /// Not known yet.
    InDoubt,
    /// The request is malformed or contradicts an earlier one.
    Invalid(String),
}
