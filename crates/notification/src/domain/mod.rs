//! The text of a notification, and who may see it.

mod notice;
mod reported;

pub(crate) use notice::{Notice, Payload, Severity, notice};
pub(crate) use reported::Reported;

/// The notifications that a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Head office: everything.
    All,
    /// Staff: those of these places.
    Places(Vec<String>),
    /// A customer: those about the customer.
    Customer(String),
}
