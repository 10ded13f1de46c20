//! Tokens of issuers outside of the fleet: any OpenID Connect provider.
//!
//! An issuer is trusted because the settings list it ([`TrustedIssuer`]), never because a token names it. Its discovery
//! document and keys are fetched with the first of its tokens, cached and refreshed. The subject of its callers is
//! `<alias>|<sub>`: the ids of our own users contain no `|`, so the two cannot be confused.
//!
//! Standards: JWT best current practices (RFC 8725), OpenID Connect Core and Discovery 1.0, JWK (RFC 7517).

mod claims;
mod keys;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chassis::{Kind, Problem};
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

pub use claims::ForeignCaller;
pub use settings::{SignedBy, TrustedIssuer};

use crate::AuthError;
use crate::claims::now;
use keys::{Keys, Lookup, RefreshPolicy};

/// Larger than tokens of issuers, even those with many role names.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a token of a foreign issuer is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// It names no trusted issuer, or is not a JWT. It may be a token of another kind.
    #[error("The issuer of the token is not trusted.")]
    UnknownIssuer,
    /// It is invalid.
    #[error("The token {0}.")]
    Refused(&'static str),
    /// It cannot be verified now, since the issuer's keys cannot be fetched. A retry may succeed.
    #[error("The keys of the token's issuer cannot be fetched at the moment.")]
    Away,
}

impl From<ForeignError> for Problem {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::Away => Self::new(Kind::Unavailable, error.to_string()).retry_after(2),
            _ => Self::unauthenticated(error.to_string()),
        }
    }
}

/// The trusted foreign issuers. Cheap to clone; clones share the cached keys.
#[derive(Clone)]
pub struct ForeignIssuers {
    issuers: Arc<Vec<Issuer>>,
    // Created on first use: loading the root certificates takes longer than the rest of the start.
    http: Arc<OnceLock<Option<reqwest::Client>>>,
}

struct Issuer {
    settings: TrustedIssuer,
    alias: String,
    keys: Keys,
}

impl std::fmt::Debug for ForeignIssuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.issuers.iter().map(|issuer| &issuer.settings.issuer)).finish()
    }
}

#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

impl ForeignIssuers {
    /// The issuers in the settings. Fetches nothing before the first token. Without `http`, a client is created then that uses
    /// no proxy.
    pub fn new(settings: &[TrustedIssuer], http: Option<reqwest::Client>) -> Result<Self, AuthError> {
        Self::with_policy(settings, http, RefreshPolicy::DEFAULT)
    }

    fn with_policy(
        settings: &[TrustedIssuer],
        http: Option<reqwest::Client>,
        policy: RefreshPolicy,
    ) -> Result<Self, AuthError> {
        settings::check(settings)?;
        let issuer = |settings: &TrustedIssuer| Issuer {
            alias: settings.short_name().unwrap_or_default(),
            keys: Keys::new(settings, policy),
            settings: settings.clone(),
        };
        let client = OnceLock::new();
        if let Some(given) = http {
            client.get_or_init(|| Some(given));
        }
        Ok(Self { issuers: Arc::new(settings.iter().map(issuer).collect()), http: Arc::new(client) })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The `iss` of each issuer.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.settings.issuer.as_str())
    }

    /// Whether the token names one of the issuers; it is not verified yet.
    pub fn is_of_trusted_issuer(&self, token: &str) -> bool {
        self.issuer_of(token).is_some()
    }

    fn issuer_of(&self, token: &str) -> Option<&Issuer> {
        if self.issuers.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let named: Unverified = serde_json::from_slice(&claims).ok()?;
        self.issuers.iter().find(|issuer| issuer.settings.issuer == named.iss)
    }

    /// Verifies a token and returns its caller.
    ///
    /// Checks the length, the algorithm (allowed by the settings and by the key), the signature, `iss`, `aud` or `azp` if an
    /// audience is set, `exp`, `nbf` and `iat`, and that the token is not marked as another kind than an access token.
    pub async fn verify(&self, token: &str) -> Result<ForeignCaller, ForeignError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(ForeignError::Refused("is too long"));
        }
        let issuer = self.issuer_of(token).ok_or(ForeignError::UnknownIssuer)?;
        let refused = |_| ForeignError::Refused("is not a signed JWT with a supported algorithm");
        let header = decode_header(token).map_err(refused)?;
        let algorithm = SignedBy::of(header.alg).filter(|algorithm| issuer.settings.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(ForeignError::Refused("is signed by an algorithm that is not allowed"))?;
        let typ = header.typ.as_deref().map(|typ| typ.to_ascii_lowercase());
        let typ = typ.as_deref().map(|typ| typ.trim_start_matches("application/"));
        if !matches!(typ, None | Some("jwt" | "at+jwt")) {
            return Err(ForeignError::Refused("is not an access token"));
        }
        if header.crit.is_some() {
            return Err(ForeignError::Refused("has an unsupported critical header"));
        }
        let http = self.http.get_or_init(|| reqwest::Client::builder().no_proxy().build().ok());
        let http = http.as_ref().ok_or(ForeignError::Away)?;
        let key = match issuer.keys.find(header.kid.as_deref(), algorithm, http).await {
            Lookup::Key(key) => key,
            Lookup::Unknown => return Err(ForeignError::Refused("is signed with an unknown key")),
            Lookup::Unavailable => return Err(ForeignError::Away),
        };
        let mut rules = Validation::new(header.alg);
        rules.leeway = issuer.settings.leeway;
        rules.validate_nbf = true;
        // Checked with the other claims, since it may be in `azp`.
        rules.validate_aud = false;
        rules.set_issuer(&[&issuer.settings.issuer]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        let claims =
            decode::<claims::Claims>(token, &key, &rules).map_err(|err| ForeignError::Refused(reason(&err)))?;
        claims.claims.caller(&issuer.settings, &issuer.alias, now()).map_err(ForeignError::Refused)
    }
}

fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "has expired",
        ErrorKind::ImmatureSignature => "is not valid yet",
        ErrorKind::InvalidSignature => "has an invalid signature",
        ErrorKind::InvalidIssuer => "is of another issuer",
        ErrorKind::MissingRequiredClaim(_) => "lacks a required claim",
        _ => "cannot be parsed",
    }
}
