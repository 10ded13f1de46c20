//! Settings of trusted foreign issuers.

use std::collections::{BTreeMap, BTreeSet};

use jsonwebtoken::Algorithm;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::{AuthError, Role, internal};

/// Path of the discovery document below the issuer (OpenID Connect Discovery 1.0, section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Maximum length of an alias.
const MAX_ALIAS_LENGTH: usize = 100;

/// A trusted issuer of tokens outside of the fleet, such as Keycloak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Its short name in subjects, `<alias>|<sub>`; by default host and port of the issuer. Issuers at the same host must have
    /// different aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The required audience: must be in `aud`, or in `azp`, where Keycloak puts the client. Without it any token of the issuer
    /// is accepted, for whichever client it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// URL of its discovery document; by default `<issuer>/.well-known/openid-configuration`. The document must still name the
    /// issuer: this is for an issuer that is reached at another address than its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
    /// The allowed signature algorithms.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<SignedBy>,
    /// Path of the claim with the roles, such as `realm_access.roles` or `resource_access.<client>.roles`.
    #[serde(default = "default_roles_claim")]
    pub roles_claim: String,
    /// Maps its roles to ours. Unmapped roles are ignored; none may map to `service`.
    #[serde(default)]
    pub role_map: BTreeMap<String, Role>,
    /// Tolerance for clock differences, in seconds; at most 300.
    #[serde(default = "default_leeway")]
    pub leeway: u64,
}

/// A signature algorithm with a public key (RFC 7518, RFC 8037). HMAC and `none` are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub enum SignedBy {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl SignedBy {
    pub(super) fn of(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::EdDSA => Self::EdDSA,
            _ => return None,
        })
    }
}

fn default_algorithms() -> Vec<SignedBy> {
    vec![SignedBy::RS256, SignedBy::ES256, SignedBy::EdDSA, SignedBy::PS256]
}

fn default_roles_claim() -> String {
    "realm_access.roles".into()
}

fn default_leeway() -> u64 {
    5
}

impl TrustedIssuer {
    /// An issuer with default settings; none of its roles are mapped.
    pub fn named(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            alias: None,
            audience: None,
            discovery_url: None,
            algorithms: default_algorithms(),
            roles_claim: default_roles_claim(),
            role_map: BTreeMap::new(),
            leeway: default_leeway(),
        }
    }

    /// Its alias, explicit or by default.
    pub(super) fn short_name(&self) -> Option<String> {
        match &self.alias {
            Some(alias) => Some(alias.clone()),
            None => {
                let url = Url::parse(&self.issuer).ok()?;
                let host = url.host_str()?;
                Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
            }
        }
    }

    /// URL of its discovery document.
    pub(super) fn discovery_url(&self) -> String {
        let default = || format!("{}{WELL_KNOWN}", self.issuer.trim_end_matches('/'));
        self.discovery_url.clone().unwrap_or_else(default)
    }

    /// Validates the settings; returns the alias.
    fn check(&self) -> Result<String, String> {
        if self.issuer.is_empty() || self.issuer == internal::ISSUER {
            return Err("`issuer` is required, and must not be the fleet's own".into());
        }
        let is_web = |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_web(&self.discovery_url()) {
            return Err("`issuer` or `discovery_url` must be an http or https URL".into());
        }
        let fits = |name: &String| {
            let is_allowed = |char: char| char.is_ascii_alphanumeric() || ".:-_[]".contains(char);
            (1..=MAX_ALIAS_LENGTH).contains(&name.len()) && name.chars().all(is_allowed)
        };
        let name = self.short_name().filter(fits);
        let name =
            name.ok_or_else(|| format!("`alias` is required: 1 to {MAX_ALIAS_LENGTH} letters, digits or . : - _"))?;
        if self.algorithms.is_empty() {
            return Err("`algorithms` is empty".into());
        }
        if self.audience.as_deref() == Some("") || self.roles_claim.is_empty() {
            return Err("`audience` and `roles_claim` may be omitted, but not empty".into());
        }
        if self.role_map.values().any(|role| *role == Role::Service) {
            return Err("`role_map` maps to `service`, which only the fleet's key may grant".into());
        }
        if self.leeway > 300 {
            return Err("`leeway` is more than 300 seconds".into());
        }
        Ok(name)
    }
}

/// Validates all settings, and that names and aliases are unique.
pub(super) fn check(issuers: &[TrustedIssuer]) -> Result<(), AuthError> {
    let (mut names, mut aliases) = (BTreeSet::new(), BTreeSet::new());
    for issuer in issuers {
        let invalid = |why: String| AuthError::Issuer { issuer: issuer.issuer.clone(), why };
        let alias = issuer.check().map_err(invalid)?;
        if !names.insert(&issuer.issuer) {
            return Err(invalid("it is listed twice".into()));
        }
        if !aliases.insert(alias.clone()) {
            return Err(invalid(format!(
                "another issuer has the alias {alias:?} too; set a different `alias` for each"
            )));
        }
    }
    Ok(())
}
