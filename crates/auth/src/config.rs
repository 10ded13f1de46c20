//! Settings: which tokens a service accepts.

use chassis::Secret;
use serde::{Deserialize, Serialize};

use crate::TrustedIssuer;

/// The issuers of tokens, and the key of the fleet's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// The `iss` of users' tokens: the customer service.
    pub issuer: String,
    /// URL of the issuer's keys. If it ends in `/.well-known/jwks.json`, the revoked tokens are fetched from
    /// `/.well-known/revoked` at the same base.
    pub jwks_url: String,
    /// The fleet's key, the same at every service: PKCS#8 of a P-256 key, in PEM or base64. Without it no call of another
    /// service is accepted.
    pub internal_key: Secret,
    /// Issuers outside the fleet whose tokens are accepted too; none by default.
    pub trusted_issuers: Vec<TrustedIssuer>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuer: "http://127.0.0.1:8085".into(),
            jwks_url: "http://127.0.0.1:8085/.well-known/jwks.json".into(),
            internal_key: Secret::default(),
            trusted_issuers: Vec::new(),
        }
    }
}

/// A key or setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Not PKCS#8 of a P-256 key. The text does not contain the value.
    #[error("{what} is not a P-256 key in PKCS#8, PEM or base64")]
    Key {
        /// The setting or the store of the key.
        what: &'static str,
    },
    /// The random source or the library fails.
    #[error("a key or token could not be created")]
    Crypto,
    /// The settings of a foreign issuer are invalid.
    #[error("trusted_issuers (SOUK_TRUSTED_ISSUERS), {issuer:?}: {why}")]
    Issuer {
        /// Its `iss`.
        issuer: String,
        /// The reason.
        why: String,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client for the issuer's keys cannot be built")]
    Client(#[from] reqwest::Error),
}
