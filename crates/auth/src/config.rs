//! Which tokens a service accepts.

use chassis::Secret;
use serde::{Deserialize, Serialize};

use crate::TrustedIssuer;

/// Where tokens come from and how the fleet's own are signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// The `iss` of users' tokens: the customer service.
    pub issuer: String,
    /// Where the issuer's keys are. At `…/.well-known/jwks.json` the list of revoked tokens is looked for beside it.
    pub jwks_url: String,
    /// The fleet's key, the same at every service: PKCS#8 of a P-256 key, in PEM or base64. Without it no call of another
    /// service is accepted.
    pub internal_key: Secret,
    /// Issuers outside the fleet whose tokens are accepted, too; none.
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
    /// Not PKCS#8 of a P-256 key. What was given is not repeated.
    #[error("{what} is not a P-256 key in PKCS#8, PEM or base64")]
    Key {
        /// Which setting or store.
        what: &'static str,
    },
    /// The random source or the library refuses.
    #[error("a key or token could not be made")]
    Crypto,
    /// A foreign issuer that cannot be trusted as the settings say it.
    #[error("trusted_issuers (SOUK_TRUSTED_ISSUERS), {issuer:?}: {why}")]
    Issuer {
        /// Its name.
        issuer: String,
        /// What is wrong.
        why: String,
    },
    /// No HTTP client.
    #[error("no HTTP client for the issuer's keys")]
    Client(#[from] reqwest::Error),
}
