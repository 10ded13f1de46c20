//! The errors of this service and their kinds.

use chassis::{FieldError, Kind, Problem};

use crate::domain;

/// A failure of this service, independent of the transport.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such product. Clients of the older schema compare the text.
    #[error("Produit avec l'ID {0} non trouvé")]
    NotFound(String),
    /// Fields break rules.
    #[error("fields break rules")]
    Invalid(Vec<FieldError>),
    /// The id stands for another product, perhaps a deleted one.
    #[error("there is or was another product with the id {0}")]
    IdTaken(String),
    /// The key came before with something else.
    #[error(transparent)]
    KeyReused(#[from] idempotency::Reused),
    /// The caller has seen an older version.
    #[error("it has changed meanwhile")]
    Stale {
        /// The version it has now.
        version: i64,
    },
    /// The request has no token.
    #[error("a token is wanted: Authorization: Bearer TOKEN")]
    Unauthenticated,
    /// The caller may not.
    #[error("this is for admins")]
    Forbidden,
    /// A cursor that no list gave out, or a window out of range.
    #[error(transparent)]
    Page(#[from] commerce::page::BadPage),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] db::Error),
    /// A defect of this service.
    #[error("{0}")]
    Defect(&'static str),
}

impl Error {
    /// One field breaks one rule.
    pub(crate) fn invalid(field: &str, rule: &str, message: &str) -> Self {
        Self::Invalid(vec![FieldError::new(field, rule, message)])
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Invalid(_) | Self::KeyReused(_) | Self::Page(_) => Kind::Invalid,
            Self::IdTaken(_) => Kind::Conflict,
            Self::Stale { .. } => Kind::Stale,
            Self::Unauthenticated => Kind::Unauthenticated,
            Self::Forbidden => Kind::Forbidden,
            Self::Store(err) if err.is_unavailable() => Kind::Unavailable,
            Self::Store(_) | Self::Defect(_) => Kind::Internal,
        }
    }
}

impl From<domain::Error> for Error {
    fn from(error: domain::Error) -> Self {
        match error {
            domain::Error::Invalid(fields) => Self::Invalid(fields),
            domain::Error::Stale { version } => Self::Stale { version },
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let detail = error.to_string();
        match error {
            Error::Invalid(fields) => Self::fields(fields),
            Error::Page(bad) => Self::invalid(bad.field, "range", bad.message),
            Error::Stale { version } => Self::new(kind, detail).with("version", version),
            Error::Store(_) => Self::new(kind, detail).because(error),
            Error::NotFound(_) => Self::new(kind, detail).with_code("product.not_found"),
            Error::IdTaken(_) => Self::new(kind, detail).with_code("product.id_taken"),
            Error::KeyReused(_) => Self::new(kind, detail).with_code("idempotency_key.reused"),
            _ => Self::new(kind, detail),
        }
    }
}
