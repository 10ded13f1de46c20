//! The rules that a product or its change can break.

use chassis::FieldError;

/// A rule of the domain that is broken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Fields break rules.
    #[error("fields break rules")]
    Invalid(Vec<FieldError>),
    /// The caller has seen an older version.
    #[error("it has changed meanwhile")]
    Stale {
        /// The present version.
        version: i64,
    },
}
