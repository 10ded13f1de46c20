//! The claims of foreign tokens, and their mapping to callers.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::settings::TrustedIssuer;
use crate::claims::Audience;
use crate::{Caller, Role};

/// OpenID Connect Core 1.0, section 2: a `sub` is at most 255 ASCII characters.
const MAX_SUBJECT_LENGTH: usize = 255;

/// The claims of a foreign token; those without a field are kept unchanged in `others`.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    aud: Option<Audience>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    jti: Option<String>,
    /// The kind of token in Keycloak: `Bearer` for an access token, or `ID`, `Refresh`, `Logout`, …
    #[serde(default)]
    typ: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A caller with a token of a foreign issuer.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignCaller {
    /// The caller: subject `<alias>|<sub>`, roles by the role map, neither stores nor a customer.
    pub caller: Caller,
    /// The `iss`.
    pub issuer: String,
    /// The `sub` of the token.
    pub sub: String,
    /// The `email` of the token, not necessarily verified by the issuer.
    pub email: Option<String>,
    /// The `preferred_username` of the token, for display only: it may change and identifies nobody.
    pub preferred_username: Option<String>,
    /// All other claims that are not about the token itself, unchanged.
    pub claims: Map<String, Value>,
}

impl Claims {
    /// Validates the claims; `exp`, `nbf` and `iss` were validated before.
    pub(super) fn caller(self, settings: &TrustedIssuer, alias: &str, now: i64) -> Result<ForeignCaller, &'static str> {
        let is_allowed = |char: char| char.is_ascii() && !char.is_ascii_control();
        if self.sub.is_empty() || self.sub.len() > MAX_SUBJECT_LENGTH || !self.sub.chars().all(is_allowed) {
            return Err("has an invalid subject");
        }
        let latest = now + i64::try_from(settings.leeway).unwrap_or(0);
        // NumericDate may have a fraction (RFC 7519, section 2).
        if self.iat.is_some_and(|iat| !iat.is_finite() || iat > latest as f64) {
            return Err("was issued in the future");
        }
        if self.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("bearer"))
            || self.others.contains_key("at_hash")
        {
            return Err("is not an access token");
        }
        if self.others.contains_key("cnf") {
            // RFC 7800: the bearer must prove the possession of a key, which is not supported.
            return Err("is bound to a key, and not a bearer token");
        }
        if settings.audience.as_deref().is_some_and(|wanted| !self.is_for(wanted)) {
            return Err("is for another audience");
        }
        let text = |name: &str| self.others.get(name).and_then(Value::as_str).map(str::to_owned);
        let caller = Caller {
            subject: format!("{alias}|{}", self.sub),
            roles: roles(&self.others, settings),
            stores: Vec::new(),
            customer_id: None,
            act: None,
            jti: self.jti.map(|jti| format!("{alias}|{jti}")).unwrap_or_default(),
            expires_at: self.exp,
        };
        Ok(ForeignCaller {
            caller,
            issuer: settings.issuer.clone(),
            email: text("email"),
            preferred_username: text("preferred_username"),
            sub: self.sub,
            claims: self.others,
        })
    }

    fn is_for(&self, wanted: &str) -> bool {
        let in_aud = match &self.aud {
            None => false,
            Some(Audience::One(one)) => one == wanted,
            Some(Audience::Many(many)) => many.iter().any(|one| one == wanted),
        };
        in_aud || self.azp.as_deref() == Some(wanted)
    }
}

fn roles(claims: &Map<String, Value>, settings: &TrustedIssuer) -> Vec<Role> {
    let Some(named) = value_at(claims, &settings.roles_claim) else { return Vec::new() };
    let names: Vec<&str> = match named {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut roles = Vec::new();
    for role in names.iter().filter_map(|name| settings.role_map.get(*name)) {
        if !roles.contains(role) {
            roles.push(*role);
        }
    }
    roles
}

/// The value at a path with dots. A name may contain dots itself, as clients' names do, so every split is tried.
fn value_at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| value_at(claims.get(&path[..dot])?.as_object()?, &path[dot + 1..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_are_found_at_the_path_also_if_names_contain_dots() {
        let claims = json!({
            "realm_access": {"roles": ["boss", "boss", "unknown"]}, "groups": "boss seller",
            "resource_access": {"my.shop": {"roles": ["seller"]}, "my": 5}, "https://x.example/roles": ["boss"],
        });
        let claims = claims.as_object().cloned().unwrap_or_default();
        let given = |path: &str| {
            let map = [("boss".to_owned(), Role::Admin), ("seller".to_owned(), Role::Clerk)];
            let settings = TrustedIssuer {
                roles_claim: path.into(),
                role_map: map.into_iter().collect(),
                ..TrustedIssuer::named("http://x")
            };
            roles(&claims, &settings)
        };
        assert_eq!(given("realm_access.roles"), [Role::Admin]);
        assert_eq!(given("resource_access.my.shop.roles"), [Role::Clerk]);
        assert_eq!(given("https://x.example/roles"), [Role::Admin]);
        assert_eq!(given("groups"), [Role::Admin, Role::Clerk]);
        for nothing in ["realm_access", "resource_access.my", "nowhere", "a.b.c", "realm_access.roles.0"] {
            assert_eq!(given(nothing), [], "{nothing}");
        }
    }
}
