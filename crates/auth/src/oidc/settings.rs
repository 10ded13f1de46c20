//! Which foreign issuers are believed, and what their words mean here.

use std::collections::{BTreeMap, BTreeSet};

use jsonwebtoken::Algorithm;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::{AuthError, Role, internal};

/// Where an issuer describes itself, after its own name (OpenID Connect Discovery 1.0, section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Longest name of an issuer in the subjects of its callers.
const LONGEST_ALIAS: usize = 100;

/// An issuer of tokens outside the house, as Keycloak is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The `iss` of its tokens, to the letter.
    pub issuer: String,
    /// Its short name in subjects, `<alias>|<sub>`; host and port of the issuer when left out. Two issuers at one host need
    /// one each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whom its tokens are for: must stand in `aud`, or in `azp`, where Keycloak puts the client. Without it any token of the
    /// issuer is taken, whatever client it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Where it describes itself; `<issuer>/.well-known/openid-configuration` when left out. The description must name the
    /// issuer all the same, so this is for an issuer that is reached by another address than its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
    /// By which algorithms its tokens may be signed.
    #[serde(default = "usual")]
    pub algorithms: Vec<SignedBy>,
    /// Where its tokens name roles, with dots: `realm_access.roles`, `resource_access.<client>.roles`.
    #[serde(default = "realm_roles")]
    pub roles_claim: String,
    /// What its roles are here; a role that is not named gives nothing, and none gives `service`.
    #[serde(default)]
    pub role_map: BTreeMap<String, Role>,
    /// How far its clock may differ, in seconds; at most 300.
    #[serde(default = "a_little")]
    pub leeway: u64,
}

/// A signature algorithm with a public key (RFC 7518, RFC 8037). HMAC and `none` have no name here.
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

fn usual() -> Vec<SignedBy> {
    vec![SignedBy::RS256, SignedBy::ES256, SignedBy::EdDSA, SignedBy::PS256]
}

fn realm_roles() -> String {
    "realm_access.roles".into()
}

fn a_little() -> u64 {
    5
}

impl TrustedIssuer {
    /// An issuer with everything else as it is when left out: it may sign, and its roles mean nothing.
    pub fn named(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            alias: None,
            audience: None,
            discovery_url: None,
            algorithms: usual(),
            roles_claim: realm_roles(),
            role_map: BTreeMap::new(),
            leeway: a_little(),
        }
    }

    /// Its name in subjects.
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

    /// Where it describes itself.
    pub(super) fn described_at(&self) -> String {
        let usual = || format!("{}{WELL_KNOWN}", self.issuer.trim_end_matches('/'));
        self.discovery_url.clone().unwrap_or_else(usual)
    }

    /// Says what of it cannot be meant.
    fn check(&self) -> Result<String, String> {
        if self.issuer.is_empty() || self.issuer == internal::ISSUER {
            return Err("`issuer` is wanted, and is not the house itself".into());
        }
        let is_web = |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_web(&self.described_at()) {
            return Err("`issuer` or `discovery_url` must be an http or https URL".into());
        }
        let fits = |name: &String| {
            let sign = |char: char| char.is_ascii_alphanumeric() || ".:-_[]".contains(char);
            (1..=LONGEST_ALIAS).contains(&name.len()) && name.chars().all(sign)
        };
        let name = self.short_name().filter(fits);
        let name = name.ok_or_else(|| format!("`alias` is wanted: 1 to {LONGEST_ALIAS} letters, digits or . : - _"))?;
        if self.algorithms.is_empty() {
            return Err("`algorithms` names none".into());
        }
        if self.audience.as_deref() == Some("") || self.roles_claim.is_empty() {
            return Err("`audience` and `roles_claim` may be left out, but not empty".into());
        }
        if self.role_map.values().any(|role| *role == Role::Service) {
            return Err("`role_map` gives `service`, which only the fleet's own key may".into());
        }
        if self.leeway > 300 {
            return Err("`leeway` is more than 300 seconds".into());
        }
        Ok(name)
    }
}

/// Checks all of them, and that none can be taken for another.
pub(super) fn check(issuers: &[TrustedIssuer]) -> Result<(), AuthError> {
    let (mut names, mut aliases) = (BTreeSet::new(), BTreeSet::new());
    for issuer in issuers {
        let wrong = |why: String| AuthError::Issuer { issuer: issuer.issuer.clone(), why };
        let alias = issuer.check().map_err(wrong)?;
        if !names.insert(&issuer.issuer) {
            return Err(wrong("it is named twice".into()));
        }
        if !aliases.insert(alias.clone()) {
            return Err(wrong(format!("another issuer is called {alias:?} too; give each an `alias`")));
        }
    }
    Ok(())
}
