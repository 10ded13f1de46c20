//! Tokens of issuers outside the house, as any OpenID Connect provider signs them.
//!
//! An issuer is believed because the settings name it ([`TrustedIssuer`]), never because a token does. Its description
//! and keys are fetched when the first of its tokens comes, kept, and followed. Whoever it vouches for is a stranger with
//! a name of his own, `<alias>|<sub>`: no user of the house has a `|` in his id, so none can be taken for another.
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
use keys::{Found, Keys, Pace};

/// Longer than what issuers sign; the names of many roles take their place.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a token of a foreign issuer is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// It names no issuer that is trusted, or is no JWT at all. Somebody else may know it.
    #[error("The token is of no issuer that is trusted here.")]
    UnknownIssuer,
    /// It is not to be believed, and will never be.
    #[error("The token {0}.")]
    Refused(&'static str),
    /// It cannot be checked now: the issuer's keys cannot be had. The same token may be good in a moment.
    #[error("The keys of the token's issuer cannot be had at the moment.")]
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

/// The foreign issuers that are trusted. Cheap to clone; clones share what is known of the issuers.
#[derive(Clone)]
pub struct ForeignIssuers {
    issuers: Arc<Vec<Issuer>>,
    // Made when first needed: reading the root certificates takes longer than the rest of a start.
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
    /// Those of the settings. Nothing is fetched before the first token; without a client one is made then, which goes
    /// directly, past proxies.
    pub fn new(settings: &[TrustedIssuer], http: Option<reqwest::Client>) -> Result<Self, AuthError> {
        Self::paced(settings, http, Pace::USUAL)
    }

    fn paced(settings: &[TrustedIssuer], http: Option<reqwest::Client>, pace: Pace) -> Result<Self, AuthError> {
        settings::check(settings)?;
        let issuer = |settings: &TrustedIssuer| Issuer {
            alias: settings.short_name().unwrap_or_default(),
            keys: Keys::new(settings, pace),
            settings: settings.clone(),
        };
        let client = OnceLock::new();
        if let Some(given) = http {
            client.get_or_init(|| Some(given));
        }
        Ok(Self { issuers: Arc::new(settings.iter().map(issuer).collect()), http: Arc::new(client) })
    }

    /// Whether none is trusted.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The names of those that are trusted, as `iss` says them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.settings.issuer.as_str())
    }

    /// Whether the token says that it is of one of them; nothing of it is believed yet.
    pub fn is_theirs(&self, token: &str) -> bool {
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

    /// Who the bearer is.
    ///
    /// Checked are length, algorithm (one that the settings name and the key is for), signature, `iss`, `aud` or `azp`
    /// if an audience is set, `exp`, `nbf`, `iat`, and that it is an access token as far as it tells.
    pub async fn verify(&self, token: &str) -> Result<ForeignCaller, ForeignError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(ForeignError::Refused("is too long"));
        }
        let issuer = self.issuer_of(token).ok_or(ForeignError::UnknownIssuer)?;
        let refused = |_| ForeignError::Refused("is no signed JWT of a kind that is taken");
        let header = decode_header(token).map_err(refused)?;
        let algorithm = SignedBy::of(header.alg).filter(|algorithm| issuer.settings.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(ForeignError::Refused("is signed by an algorithm that is not taken"))?;
        let typ = header.typ.as_deref().map(|typ| typ.to_ascii_lowercase());
        let typ = typ.as_deref().map(|typ| typ.trim_start_matches("application/"));
        if !matches!(typ, None | Some("jwt" | "at+jwt")) {
            return Err(ForeignError::Refused("is no access token"));
        }
        if header.crit.is_some() {
            return Err(ForeignError::Refused("demands what is not understood"));
        }
        let http = self.http.get_or_init(|| reqwest::Client::builder().no_proxy().build().ok());
        let http = http.as_ref().ok_or(ForeignError::Away)?;
        let key = match issuer.keys.find(header.kid.as_deref(), algorithm, http).await {
            Found::Key(key) => key,
            Found::Unknown => return Err(ForeignError::Refused("is signed with an unknown key")),
            Found::Away => return Err(ForeignError::Away),
        };
        let mut rules = Validation::new(header.alg);
        rules.leeway = issuer.settings.leeway;
        rules.validate_nbf = true;
        // Looked at with the claims, since it may stand in `azp`.
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
        ErrorKind::InvalidSignature => "has a signature that does not fit",
        ErrorKind::InvalidIssuer => "is of another issuer",
        ErrorKind::MissingRequiredClaim(_) => "lacks a claim",
        _ => "cannot be read",
    }
}
