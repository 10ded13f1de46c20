//! What a notification says, and who may see it.

mod notice;
mod reported;

pub(crate) use notice::{Notice, Payload, Severity, notice};
pub(crate) use reported::Reported;

/// Whose notifications somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Head office: everything.
    All,
    /// Staff: what happens in these places.
    Places(Vec<String>),
    /// A customer: what is about him.
    Customer(String),
}
