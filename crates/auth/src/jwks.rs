//! The issuer's public keys and revoked tokens: fetched and refreshed over HTTP, or passed by an issuer in the same process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

/// An unknown key id causes a refresh, but at most one per interval.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);
const WELL_KNOWN: &str = "/.well-known/jwks.json";

/// Returns whether the token with this id was revoked.
pub type IsRevoked = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Fetches the current entries of the JWKS; `None` if that fails.
pub type FetchKeys = Arc<dyn Fn() -> BoxFuture<'static, Option<Vec<Value>>> + Send + Sync>;

/// Keys and revocations of an issuer in the same process.
#[derive(Clone)]
pub struct LocalKeys {
    /// The entries of its JWKS at the start.
    pub jwks: Vec<Value>,
    /// Fetches the entries again when a token has an unknown key id: another replica may have created the key.
    pub fetch: FetchKeys,
    /// Returns whether the token with this id was revoked.
    pub is_revoked: IsRevoked,
}

#[derive(Clone, Default)]
pub(crate) struct KeySet {
    keys: HashMap<String, DecodingKey>,
    revoked: HashSet<String>,
    local: Option<LocalKeys>,
}

/// The result of looking up a key.
pub(crate) enum Lookup {
    Key(Box<DecodingKey>),
    Unknown,
    Unavailable,
}

pub(crate) struct Keys {
    url: String,
    current: RwLock<Arc<KeySet>>,
    refresh_state: Mutex<RefreshState>,
    // Created on first use: loading the root certificates takes longer than the rest of the start.
    client: OnceLock<Option<reqwest::Client>>,
}

#[derive(Default)]
struct RefreshState {
    last: Option<Instant>,
    failed: bool,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Revoked {
    revoked: Vec<String>,
}

impl Keys {
    pub(crate) fn remote(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            current: RwLock::default(),
            refresh_state: Mutex::default(),
            client: OnceLock::new(),
        }
    }

    pub(crate) fn local(local: &LocalKeys) -> Self {
        let known = KeySet { keys: parse(&local.jwks), revoked: HashSet::new(), local: Some(local.clone()) };
        let keys = Self::remote("");
        keys.replace(known);
        keys
    }

    pub(crate) fn is_local(&self) -> bool {
        self.current().local.is_some()
    }

    pub(crate) fn is_revoked(&self, jti: &str) -> bool {
        let known = self.current();
        known.revoked.contains(jti) || known.local.as_ref().is_some_and(|local| (local.is_revoked)(jti))
    }

    pub(crate) fn get(&self, kid: &str) -> Option<DecodingKey> {
        self.current().keys.get(kid).cloned()
    }

    /// Finds a key, after a refresh if it is unknown. Concurrent callers share one refresh.
    pub(crate) async fn find(&self, kid: &str) -> Lookup {
        if let Some(key) = self.get(kid) {
            return Lookup::Key(Box::new(key));
        }
        let mut state = self.refresh_state.lock().await;
        if self.get(kid).is_none() && state.last.is_none_or(|last| last.elapsed() >= MIN_INTERVAL) {
            state.failed = self.fetch().await.is_err();
            state.last = Some(Instant::now());
        }
        match self.get(kid) {
            Some(key) => Lookup::Key(Box::new(key)),
            None if state.failed => Lookup::Unavailable,
            None => Lookup::Unknown,
        }
    }

    /// Fetches the keys again; returns whether any key was removed. After a failure the previous keys stay: an unreachable issuer
    /// must not invalidate all tokens.
    pub(crate) async fn refresh(&self) -> bool {
        let mut state = self.refresh_state.lock().await;
        let before: HashSet<String> = self.current().keys.keys().cloned().collect();
        let outcome = self.fetch().await;
        if outcome.is_err() != state.failed {
            match &outcome {
                Ok(()) => tracing::info!(url = self.url, "the issuer is reachable again"),
                Err(err) => {
                    tracing::warn!(url = self.url, error = %err, "the issuer is unreachable; using the known keys")
                }
            }
        }
        state.failed = outcome.is_err();
        state.last = Some(Instant::now());
        let known = self.current();
        before.iter().any(|kid| !known.keys.contains_key(kid))
    }

    async fn fetch(&self) -> Result<(), String> {
        if let Some(local) = &self.current().local {
            let jwks = (local.fetch)().await.ok_or("the issuer's store is unreachable")?;
            self.replace(KeySet { keys: parse(&jwks), revoked: HashSet::new(), local: Some(local.clone()) });
            return Ok(());
        }
        let jwks: Jwks = self.get_json(&self.url).await?;
        let mut known = KeySet { keys: parse(&jwks.keys), ..KeySet::default() };
        if let Some(base) = self.url.strip_suffix(WELL_KNOWN) {
            let listed: Result<Revoked, String> = self.get_json(&format!("{base}/.well-known/revoked")).await;
            known.revoked = match listed {
                Ok(list) => list.revoked.into_iter().collect(),
                Err(_) => self.current().revoked.clone(),
            };
        }
        self.replace(known);
        Ok(())
    }

    async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let client = self.client.get_or_init(|| reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().ok());
        let client = client.as_ref().ok_or("no HTTP client")?;
        let response = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        response.map_err(|err| err.to_string())?.json().await.map_err(|err| err.to_string())
    }

    fn current(&self) -> Arc<KeySet> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, known: KeySet) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}

/// Reads a JSON Web Key (RFC 7517). Only the members that are used are looked at: a malformed certificate or an extension must not
/// disable a valid key.
pub(crate) fn read_jwk(jwk: &Value) -> Option<Jwk> {
    const MEMBERS: [&str; 9] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];
    let mut used: Map<String, Value> = jwk
        .as_object()?
        .iter()
        .filter(|(name, _)| MEMBERS.contains(&name.as_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    if let Some(operations @ Value::Array(_)) = jwk.get("key_ops") {
        used.insert("key_ops".into(), operations.clone());
    }
    Jwk::deserialize(Value::Object(used)).ok()
}

/// Parses the P-256 signature keys among the entries; ignores all others.
fn parse(jwks: &[Value]) -> HashMap<String, DecodingKey> {
    let parse_one = |jwk: &Value| {
        let jwk = read_jwk(jwk)?;
        let is_signature = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let is_p256 =
            matches!(&jwk.algorithm, AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256);
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| is_signature && is_p256)?;
        Some((jwk.common.key_id?, key))
    };
    jwks.iter().filter_map(parse_one).collect()
}
