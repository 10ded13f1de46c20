//! Value types of commerce: amounts, quantities, currencies, ids, times and pages.
//!
//! It contains only types that more than two services exchange: no entities, no I/O.

mod amount;
mod compound_key;
mod currency;
mod id;
pub mod page;
mod quantity;
mod time;

pub use amount::Amount;
pub use compound_key::compound_key;
pub use currency::Currency;
pub use id::{CustomerId, Id, LineId, OrderId, PaymentId, PlaceId, ProductId, ReturnId, UserId, kind};
pub use quantity::Quantity;
pub use time::Timestamp;

/// Why a text or number is not a valid value of a type. The message describes what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);
