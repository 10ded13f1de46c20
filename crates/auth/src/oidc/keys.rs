//! The keys of a foreign issuer: fetched on first use, cached, and refreshed when they change.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::settings::{SignedBy, TrustedIssuer};

/// Time-out of a request to an issuer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;
/// Maximum number of keys of one issuer.
const MAX_KEYS: usize = 100;

/// How often the keys of an issuer are refreshed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefreshPolicy {
    /// Shortest time between two refreshes: tokens with invalid key ids must not flood the issuer.
    pub(super) min_interval: Duration,
    /// Older keys are refreshed before they are used, so that a removed key stops being valid.
    pub(super) max_age: Duration,
    /// How long the discovery document, which has the URL of the keys, is cached.
    pub(super) discovery_max_age: Duration,
}

impl RefreshPolicy {
    pub(super) const DEFAULT: Self = Self {
        min_interval: Duration::from_secs(2),
        max_age: Duration::from_secs(300),
        discovery_max_age: Duration::from_secs(3600),
    };
}

/// The result of looking up a key.
pub(super) enum Lookup {
    Key(Box<DecodingKey>),
    Unknown,
    Unavailable,
}

/// A key, and its allowed use.
struct Key {
    kid: Option<String>,
    /// The only algorithm that the key may be used with, if it names one.
    algorithm: Option<KeyAlgorithm>,
    kind: Kind,
    decoding: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// The kind of key that an algorithm requires: a token must not choose the use of a key (RFC 8725, section 3.1).
fn required_kind(algorithm: SignedBy) -> Kind {
    match algorithm {
        SignedBy::RS256 | SignedBy::RS384 | SignedBy::RS512 | SignedBy::PS256 | SignedBy::PS384 | SignedBy::PS512 => {
            Kind::Rsa
        }
        SignedBy::ES256 => Kind::P256,
        SignedBy::ES384 => Kind::P384,
        SignedBy::EdDSA => Kind::Ed25519,
    }
}

#[derive(Default)]
struct KeySet {
    keys: Vec<Key>,
    fetched_at: Option<Instant>,
}

#[derive(Default)]
struct RefreshState {
    last: Option<Instant>,
    failed: bool,
    keys_at: Option<(String, Instant)>,
}

pub(super) struct Keys {
    issuer: String,
    discovery_url: String,
    policy: RefreshPolicy,
    current: RwLock<Arc<KeySet>>,
    refresh_state: Mutex<RefreshState>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl Keys {
    pub(super) fn new(settings: &TrustedIssuer, policy: RefreshPolicy) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            discovery_url: settings.discovery_url(),
            policy,
            current: RwLock::default(),
            refresh_state: Mutex::default(),
        }
    }

    /// Finds the key of a token, after a refresh if it is unknown or the keys are old. Concurrent callers share one refresh.
    /// While the issuer is unreachable, the known keys stay valid.
    pub(super) async fn find(&self, kid: Option<&str>, algorithm: SignedBy, http: &reqwest::Client) -> Lookup {
        let known = self.current();
        if let (Some(key), false) = (known.find(kid, algorithm), self.is_old(&known)) {
            return Lookup::Key(Box::new(key));
        }
        let mut state = match (known.find(kid, algorithm), self.refresh_state.try_lock()) {
            // Another task refreshes already, and an old key is better than waiting for an issuer that may hang.
            (Some(key), Err(_)) => return Lookup::Key(Box::new(key)),
            (_, Ok(state)) => state,
            (None, Err(_)) => self.refresh_state.lock().await,
        };
        let just_now = state.last.is_some_and(|last| last.elapsed() < self.policy.min_interval);
        let known = self.current();
        let enough = known.find(kid, algorithm).is_some() && !self.is_old(&known);
        if !enough && !just_now {
            self.refresh(&mut state, http).await;
        }
        match self.current().find(kid, algorithm) {
            Some(key) => Lookup::Key(Box::new(key)),
            None if state.failed => Lookup::Unavailable,
            None => Lookup::Unknown,
        }
    }

    fn is_old(&self, keys: &KeySet) -> bool {
        keys.fetched_at.is_none_or(|at| at.elapsed() >= self.policy.max_age)
    }

    async fn refresh(&self, state: &mut RefreshState, http: &reqwest::Client) {
        let outcome = self.fetch(state, http).await;
        if outcome.is_err() != state.failed {
            match &outcome {
                Ok(_) => tracing::info!(issuer = self.issuer, "the foreign issuer is reachable again"),
                Err(why) => {
                    tracing::warn!(
                        issuer = self.issuer,
                        why,
                        "cannot fetch the keys of the foreign issuer; using the known ones"
                    )
                }
            }
        }
        state.failed = outcome.is_err();
        state.last = Some(Instant::now());
        match outcome {
            Ok(keys) => {
                let known = Arc::new(KeySet { keys, fetched_at: state.last });
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = known;
            }
            // The URL of the keys may have changed, so the next refresh fetches the discovery document again.
            Err(_) => state.keys_at = None,
        }
    }

    async fn fetch(&self, state: &mut RefreshState, http: &reqwest::Client) -> Result<Vec<Key>, String> {
        let keys_at = match &state.keys_at {
            Some((url, since)) if since.elapsed() < self.policy.discovery_max_age => url.clone(),
            _ => {
                let discovery: Discovery = get_json(http, &self.discovery_url).await?;
                // OpenID Connect Discovery 1.0, section 4.3: otherwise one issuer could impersonate another.
                if discovery.issuer != self.issuer {
                    return Err(format!("its discovery document is that of {:?}", discovery.issuer));
                }
                state.keys_at = Some((discovery.jwks_uri.clone(), Instant::now()));
                discovery.jwks_uri
            }
        };
        let jwks: Jwks = get_json(http, &keys_at).await?;
        Ok(jwks.keys.iter().take(MAX_KEYS).filter_map(parse).collect())
    }

    fn current(&self) -> Arc<KeySet> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl KeySet {
    /// The key with this id for the algorithm. A token may omit the id if only one key fits (OpenID Connect Core 1.0, section
    /// 10.1).
    fn find(&self, kid: Option<&str>, algorithm: SignedBy) -> Option<DecodingKey> {
        let name = format!("{algorithm:?}");
        let fits = |key: &&Key| {
            key.kind == required_kind(algorithm) && key.algorithm.is_none_or(|named| format!("{named:?}") == name)
        };
        let mut fitting = self.keys.iter().filter(fits).filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let first = fitting.next()?;
        match fitting.next() {
            Some(_) => None,
            None => Some(first.decoding.clone()),
        }
    }
}

/// Parses a public key for signatures (RFC 7517, RFC 7518, RFC 8037); `None` for others.
fn parse(jwk: &Value) -> Option<Key> {
    let jwk = crate::jwks::read_jwk(jwk)?;
    let usage = jwk.common.public_key_use.as_ref();
    let operations = jwk.common.key_operations.as_ref();
    if usage.is_some_and(|usage| *usage != PublicKeyUse::Signature)
        || operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify))
    {
        return None;
    }
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Kind::Rsa,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Kind::P256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Kind::P384,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Kind::Ed25519,
        _ => return None,
    };
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { kid: jwk.common.key_id, algorithm: jwk.common.key_algorithm, kind, decoding })
}

async fn get_json<T: DeserializeOwned>(http: &reqwest::Client, url: &str) -> Result<T, String> {
    let whole = async {
        let response = http.get(url).header(http::header::ACCEPT, "application/json").send().await;
        let mut response = response.and_then(reqwest::Response::error_for_status).map_err(|err| err.to_string())?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|err| err.to_string())? {
            if body.len() + part.len() > MAX_RESPONSE_BYTES {
                return Err(format!("{url} sends more than {MAX_RESPONSE_BYTES} bytes"));
            }
            body.extend_from_slice(&part);
        }
        serde_json::from_slice(&body).map_err(|err| format!("{url}: {err}"))
    };
    tokio::time::timeout(TIMEOUT, whole).await.unwrap_or_else(|_| Err(format!("{url} does not respond in time")))
}
