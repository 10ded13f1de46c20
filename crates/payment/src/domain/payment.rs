//! The payment of one order, with the operations that made it what it is.

use std::fmt;

use commerce::{Amount, Currency, CustomerId, OrderId, PaymentId, Timestamp};

/// Writes an enum whose variants each have one word on the wire and in the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The word on the wire and in the store.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads the word.
            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// Whose payment it is.
    PaymentKind {
        /// Of an order of this house.
        Order = "order",
        /// Under an id that only the older fleet knows.
        Legacy = "legacy",
    }
}

words! {
    /// How it is paid.
    Method {
        /// Through the provider.
        Card = "card",
        /// In the till: it is captured by being said.
        Cash = "cash",
    }
}

words! {
    /// Where the money stands.
    PaymentStatus {
        /// Held, not taken.
        Authorised = "authorised",
        /// Taken.
        Captured = "captured",
        /// The provider said no.
        Refused = "refused",
        /// Given back whole, or never taken.
        Voided = "voided",
        /// A part is given back.
        PartlyRefunded = "partly_refunded",
        /// All is given back, in parts.
        Refunded = "refunded",
        /// The provider has not been heard about the last operation.
        InDoubt = "in_doubt",
        /// A void came before the authorise: there will never be a payment. Not shown to anyone.
        Tombstone = "tombstone",
    }
}

words! {
    /// What can be done with money.
    Op {
        /// Hold it, and take it where capture is asked for at once.
        Authorize = "authorize",
        /// Take what is held.
        Capture = "capture",
        /// Give all back.
        Void = "void",
        /// Give a part back.
        Refund = "refund",
    }
}

words! {
    /// How an operation ended.
    OperationOutcome {
        /// It happened.
        Done = "done",
        /// A rule or the provider said no.
        Refused = "refused",
        /// The provider has not been heard.
        InDoubt = "in_doubt",
    }
}

/// What an authorisation says beyond its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whose payment it is.
    pub kind: PaymentKind,
    /// The whole amount.
    pub amount: Amount,
    /// Its currency.
    pub currency: Currency,
    /// Who pays; nobody for walk-in sales.
    pub customer_id: Option<CustomerId>,
    /// How.
    pub method: Method,
    /// Take it at once.
    pub capture: bool,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Hold money, and take it where `capture` says so.
    Authorize(Terms),
    /// Take so much of what is held; everything where nothing is said.
    Capture(Option<Amount>),
    /// Give everything back.
    Void,
    /// Give so much back; with `up_to` what is left, if that is less.
    Refund { amount: Amount, up_to: bool },
}

/// The amount that was said, and how it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestedAmount {
    /// So much.
    pub amount: Amount,
    /// Or what is left, if that is less.
    pub up_to: bool,
}

impl fmt::Display for RequestedAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.up_to { "up to " } else { "" };
        write!(f, "{how}{}", self.amount)
    }
}

impl Action {
    /// Which operation it is.
    pub(crate) const fn op(&self) -> Op {
        match self {
            Self::Authorize(_) => Op::Authorize,
            Self::Capture(_) => Op::Capture,
            Self::Void => Op::Void,
            Self::Refund { .. } => Op::Refund,
        }
    }

    /// What was said: a repeat must say the same.
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

/// One operation that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationRequest {
    /// Whose money.
    pub order_id: OrderId,
    /// Tells a repeat from a second operation.
    pub op_id: String,
    /// What is wanted.
    pub action: Action,
    /// Why, for people.
    pub note: String,
}

/// An operation on the books. Never removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// What was asked for.
    pub op: Op,
    /// Tells a repeat from a second operation.
    pub op_id: String,
    /// What was said.
    pub requested: RequestedAmount,
    /// The amount that moved, or is meant to.
    pub amount: Amount,
    /// How it ended.
    pub outcome: OperationOutcome,
    /// Why it was refused.
    pub reason: String,
    /// Why it was asked for.
    pub note: String,
    /// When it was asked for.
    pub at: Timestamp,
}

/// The money of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    /// Its own id.
    pub id: PaymentId,
    /// What people call it; none for a tombstone.
    pub number: Option<i64>,
    /// Whose payment it is.
    pub kind: PaymentKind,
    /// The order, or the id of the older fleet behind `legacy:`.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: Option<CustomerId>,
    /// What was to be paid.
    pub amount: Amount,
    /// Its currency.
    pub currency: Currency,
    /// How.
    pub method: Method,
    /// Whether the authorisation takes the money at once.
    pub capture: bool,
    /// Where the money stands.
    pub status: PaymentStatus,
    /// Taken so far.
    pub captured: Amount,
    /// Given back so far.
    pub refunded: Amount,
    /// Events told so far.
    pub sequence: i64,
    /// Until when somebody talks to the provider about it.
    pub claimed_until: Timestamp,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Everything that was asked, in order.
    pub operations: Vec<Operation>,
}

impl Payment {
    /// Taken and not given back.
    pub(crate) fn refundable(&self) -> Amount {
        Amount::from_minor(self.captured.minor() - self.refunded.minor())
    }

    /// The operation that this one repeats.
    pub(crate) fn find(&self, op: Op, op_id: &str) -> Option<usize> {
        self.operations.iter().position(|known| known.op == op && known.op_id == op_id)
    }

    /// The first operation that the provider has not been heard about. Operations are settled in order.
    pub(crate) fn first_in_doubt(&self) -> Option<usize> {
        self.operations.iter().position(|known| known.outcome == OperationOutcome::InDoubt)
    }

    /// True where there will never be a payment.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.status == PaymentStatus::Tombstone
    }
}
