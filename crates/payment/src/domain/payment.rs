//! The payment of one order, with the operations that made it what it is.

use std::fmt;

use commerce::{Amount, Currency, CustomerId, OrderId, PaymentId, Timestamp, compound_key};

/// Defines an enum whose variants each have one name on the wire and in the store.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $wire:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The name on the wire and in the store.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)+ }
            }

            /// Reads a name.
            pub(crate) fn parse(name: &str) -> Option<Self> {
                match name { $($wire => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

wire_enum! {
    /// What a payment is for.
    PaymentKind {
        /// An order.
        Order = "order",
        /// An id that was paid by the old proto and is not an order.
        Legacy = "legacy",
    }
}

wire_enum! {
    /// The method of payment.
    Method {
        /// By card, through the provider.
        Card = "card",
        /// In cash: captured by the statement that it was paid.
        Cash = "cash",
    }
}

wire_enum! {
    /// The status of a payment.
    PaymentStatus {
        /// Authorised, not captured.
        Authorised = "authorised",
        /// Captured.
        Captured = "captured",
        /// Refused by the provider.
        Refused = "refused",
        /// Given back as a whole, or never captured.
        Voided = "voided",
        /// Refunded in part.
        PartlyRefunded = "partly_refunded",
        /// Refunded completely, in parts.
        Refunded = "refunded",
        /// The provider has not answered about an operation.
        InDoubt = "in_doubt",
        /// A void came before the authorisation, which it refuses. Never published.
        Tombstone = "tombstone",
    }
}

wire_enum! {
    /// The kinds of operation.
    Op {
        /// Authorise an amount, and capture it at once if so requested.
        Authorize = "authorize",
        /// Capture what is authorised.
        Capture = "capture",
        /// Give everything back.
        Void = "void",
        /// Give a part back.
        Refund = "refund",
    }
}

wire_enum! {
    /// The outcome of an operation.
    OperationOutcome {
        /// Performed.
        Done = "done",
        /// Refused by a rule or the provider.
        Refused = "refused",
        /// The provider has not answered.
        InDoubt = "in_doubt",
    }
}

/// The terms of an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub kind: PaymentKind,
    /// The whole amount.
    pub amount: Amount,
    pub currency: Currency,
    /// The payer; none for walk-in sales.
    pub customer_id: Option<CustomerId>,
    pub method: Method,
    /// Capture at once.
    pub capture: bool,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Authorise, and capture if the terms say so.
    Authorize(Terms),
    /// Capture this amount; none: everything.
    Capture(Option<Amount>),
    /// Give everything back.
    Void,
    /// Give this amount back; with `up_to` what is left, if that is less.
    Refund { amount: Amount, up_to: bool },
}

/// The amount of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestedAmount {
    pub amount: Amount,
    /// At most `amount`: what is left, if that is less.
    pub up_to: bool,
}

impl fmt::Display for RequestedAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.up_to { "up to " } else { "" };
        write!(f, "{how}{}", self.amount)
    }
}

impl Action {
    /// The kind of operation.
    pub(crate) const fn op(&self) -> Op {
        match self {
            Self::Authorize(_) => Op::Authorize,
            Self::Capture(_) => Op::Capture,
            Self::Void => Op::Void,
            Self::Refund { .. } => Op::Refund,
        }
    }

    /// The requested amount, which a repeat must not change.
    pub(crate) fn requested_amount(&self) -> RequestedAmount {
        let (amount, up_to) = match self {
            Self::Authorize(terms) => (terms.amount, false),
            Self::Capture(amount) => (amount.unwrap_or(Amount::ZERO), false),
            Self::Void => (Amount::ZERO, false),
            Self::Refund { amount, up_to } => (*amount, *up_to),
        };
        RequestedAmount { amount, up_to }
    }
}

/// An operation that a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationRequest {
    /// The order whose payment is changed.
    pub order_id: OrderId,
    /// Distinguishes a repeat from a second operation of the same kind.
    pub op_id: String,
    pub action: Action,
    /// Why, for people.
    pub note: String,
}

/// A recorded operation. Never removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub op: Op,
    /// Distinguishes a repeat from a second operation of the same kind.
    pub op_id: String,
    /// The amount of the request.
    pub requested: RequestedAmount,
    /// The amount that was moved, or will be.
    pub amount: Amount,
    pub outcome: OperationOutcome,
    /// Why it was refused.
    pub reason: String,
    /// Why it was requested.
    pub note: String,
    /// When it was requested.
    pub at: Timestamp,
    /// The idempotency key under which a provider is asked for it.
    pub provider_key: String,
}

/// The provider's idempotency key of an operation. Clients choose parts of the ids, and the same key for two operations would make
/// the provider take the second for a repeat of the first.
pub(crate) fn provider_key(order_id: &OrderId, op: Op, op_id: &str) -> String {
    let key = earlier_provider_key(order_id, op, op_id);
    // Text that can be split in one way only is unambiguous. It stays, since earlier versions use it, which run beside this one during
    // an upgrade.
    let segments: Vec<&str> = key.split(':').collect();
    let inner = &segments[1..segments.len() - 1];
    if inner.iter().filter(|segment| Op::parse(segment).is_some()).count() > 1 {
        compound_key([order_id.as_str(), op.as_str(), op_id])
    } else {
        key
    }
}

/// The key under which earlier versions asked for an operation.
pub(crate) fn earlier_provider_key(order_id: &OrderId, op: Op, op_id: &str) -> String {
    format!("{order_id}:{}:{op_id}", op.as_str())
}

/// The payment of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    pub id: PaymentId,
    /// The number that people use; none for a tombstone.
    pub number: Option<i64>,
    pub kind: PaymentKind,
    /// The order's id, or `legacy:` and an id that was paid by the old proto.
    pub order_id: OrderId,
    /// The payer.
    pub customer_id: Option<CustomerId>,
    /// The authorised amount.
    pub amount: Amount,
    pub currency: Currency,
    pub method: Method,
    /// Whether the authorisation captures at once.
    pub capture: bool,
    pub status: PaymentStatus,
    /// Captured so far.
    pub captured: Amount,
    /// Refunded so far.
    pub refunded: Amount,
    /// The number of the last event.
    pub sequence: i64,
    /// The end of the claim of the replica that calls the provider about it.
    pub claimed_until: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// All operations, in the order of the requests.
    pub operations: Vec<Operation>,
}

impl Payment {
    /// Captured and not refunded.
    pub(crate) fn refundable(&self) -> Amount {
        Amount::from_minor(self.captured.minor() - self.refunded.minor())
    }

    /// The index of the operation with this kind and id.
    pub(crate) fn find(&self, op: Op, op_id: &str) -> Option<usize> {
        self.operations.iter().position(|known| known.op == op && known.op_id == op_id)
    }

    /// The index of the first operation in doubt. Operations are resolved in their order.
    pub(crate) fn first_in_doubt(&self) -> Option<usize> {
        self.operations.iter().position(|known| known.outcome == OperationOutcome::InDoubt)
    }

    /// Whether there will never be a payment.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.status == PaymentStatus::Tombstone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_earlier_versions_unless_it_is_ambiguous() {
        let key = |order: &str, op, op_id| provider_key(&OrderId::trusted(order.into()), op, op_id);
        assert_eq!(key("o1", Op::Authorize, "checkout"), "o1:authorize:checkout");
        assert_eq!(key("legacy:7", Op::Refund, "hand:x"), "legacy:7:refund:hand:x");
        let one = key("o1", Op::Refund, "x:authorize:a");
        let other = key("o1:refund:x", Op::Authorize, "a");
        assert!(one != other && !one.contains(':') && !other.contains(':'), "{one} {other}");
        assert_ne!(key("a:void", Op::Void, "b"), key("a", Op::Void, "void:b"));
    }
}
