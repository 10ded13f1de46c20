//! Value types of the field: money, quantities, ids, times and pages.
//!
//! What more than two services exchange stands here, and nothing else: no entities, no I/O.

mod amount;
mod currency;
mod id;
pub mod page;
mod quantity;
mod time;

pub use amount::Amount;
pub use currency::Currency;
pub use id::{CustomerId, Id, LineId, OrderId, PaymentId, PlaceId, ProductId, ReturnId, UserId, kind};
pub use quantity::Quantity;
pub use time::Timestamp;

/// Why a text or number is no value of the wanted type. The text tells a person what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);
