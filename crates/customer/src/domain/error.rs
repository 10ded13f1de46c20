//! What a change of a customer, prospect or activity can break.

use chassis::FieldError;

/// A rule of the domain that is broken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Fields break rules.
    #[error("fields break rules")]
    Invalid(Vec<FieldError>),
    /// The change cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// No transition leads from one stage to the other.
    #[error("a prospect who is {from} cannot become {to}")]
    StageMove {
        /// The present stage.
        from: &'static str,
        /// The stage that was asked for.
        to: &'static str,
    },
    /// A defect of this service.
    #[error("{0}")]
    Defect(&'static str),
}
