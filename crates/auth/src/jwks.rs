//! The issuer's public keys and revoked tokens: fetched and followed, or handed over by the issuer itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

/// An unknown key id makes for one look at the issuer, but not more often than this.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);
const WELL_KNOWN: &str = "/.well-known/jwks.json";

/// Whether the token of that id was revoked.
pub type IsRevoked = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Gives the entries of the JWKS as they are now; `None` when they cannot be had at the moment.
pub type Look = Arc<dyn Fn() -> BoxFuture<'static, Option<Vec<Value>>> + Send + Sync>;

/// Keys and revocations of an issuer that lives in this very service.
#[derive(Clone)]
pub struct LocalKeys {
    /// The entries of its JWKS.
    pub jwks: Vec<Value>,
    /// Looks for more of them, when a token names a key that is not known: another replica may have made it.
    pub look: Look,
    /// Whether the token of that id was revoked.
    pub is_revoked: IsRevoked,
}

#[derive(Clone, Default)]
pub(crate) struct Known {
    keys: HashMap<String, DecodingKey>,
    revoked: HashSet<String>,
    local: Option<LocalKeys>,
}

/// What became of a look at the issuer.
pub(crate) enum Found {
    Key(Box<DecodingKey>),
    Unknown,
    IssuerAway,
}

pub(crate) struct Keys {
    url: String,
    known: RwLock<Arc<Known>>,
    fetching: Mutex<Fetching>,
    // Made when first needed: reading the root certificates takes longer than the rest of the start.
    client: OnceLock<Option<reqwest::Client>>,
}

#[derive(Default)]
struct Fetching {
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
        Self { url: url.to_owned(), known: RwLock::default(), fetching: Mutex::default(), client: OnceLock::new() }
    }

    pub(crate) fn local(local: &LocalKeys) -> Self {
        let known = Known { keys: usable(&local.jwks), revoked: HashSet::new(), local: Some(local.clone()) };
        let keys = Self::remote("");
        keys.replace(known);
        keys
    }

    pub(crate) fn is_local(&self) -> bool {
        self.known().local.is_some()
    }

    pub(crate) fn is_revoked(&self, jti: &str) -> bool {
        let known = self.known();
        known.revoked.contains(jti) || known.local.as_ref().is_some_and(|local| (local.is_revoked)(jti))
    }

    pub(crate) fn get(&self, kid: &str) -> Option<DecodingKey> {
        self.known().keys.get(kid).cloned()
    }

    /// The key of that id, after a look at the issuer when it is not known. Many callers make one look.
    pub(crate) async fn find(&self, kid: &str) -> Found {
        if let Some(key) = self.get(kid) {
            return Found::Key(Box::new(key));
        }
        let mut fetching = self.fetching.lock().await;
        if self.get(kid).is_none() && fetching.last.is_none_or(|last| last.elapsed() >= MIN_INTERVAL) {
            fetching.failed = self.fetch().await.is_err();
            fetching.last = Some(Instant::now());
        }
        match self.get(kid) {
            Some(key) => Found::Key(Box::new(key)),
            None if fetching.failed => Found::IssuerAway,
            None => Found::Unknown,
        }
    }

    /// Looks at the issuer again; tells whether any key was taken away or replaced. What cannot be fetched
    /// stays as it was: an issuer that is away must not lock everybody out.
    pub(crate) async fn refresh(&self) -> bool {
        let mut fetching = self.fetching.lock().await;
        let before: HashSet<String> = self.known().keys.keys().cloned().collect();
        let outcome = self.fetch().await;
        if outcome.is_err() != fetching.failed {
            match &outcome {
                Ok(()) => tracing::info!(url = self.url, "issuer answers again"),
                Err(err) => {
                    tracing::warn!(url = self.url, error = %err, "issuer is away, going on with what is known")
                }
            }
        }
        fetching.failed = outcome.is_err();
        fetching.last = Some(Instant::now());
        let known = self.known();
        before.iter().any(|kid| !known.keys.contains_key(kid))
    }

    async fn fetch(&self) -> Result<(), String> {
        if let Some(local) = &self.known().local {
            let jwks = (local.look)().await.ok_or("the issuer's store is away")?;
            self.replace(Known { keys: usable(&jwks), revoked: HashSet::new(), local: Some(local.clone()) });
            return Ok(());
        }
        let jwks: Jwks = self.get_json(&self.url).await?;
        let mut known = Known { keys: usable(&jwks.keys), ..Known::default() };
        if let Some(base) = self.url.strip_suffix(WELL_KNOWN) {
            let listed: Result<Revoked, String> = self.get_json(&format!("{base}/.well-known/revoked")).await;
            known.revoked = match listed {
                Ok(list) => list.revoked.into_iter().collect(),
                Err(_) => self.known().revoked.clone(),
            };
        }
        self.replace(known);
        Ok(())
    }

    async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let client = self.client.get_or_init(|| reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().ok());
        let client = client.as_ref().ok_or("no HTTP client")?;
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(|err| err.to_string())?.json().await.map_err(|err| err.to_string())
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}

/// The P-256 signature keys among the entries; all else is passed over.
fn usable(jwks: &[Value]) -> HashMap<String, DecodingKey> {
    let text = |jwk: &Value, name: &str| jwk[name].as_str().map(str::to_owned);
    let mut keys = HashMap::new();
    for jwk in jwks {
        let fits = jwk["kty"] == "EC" && jwk["crv"] == "P-256" && (jwk["use"].is_null() || jwk["use"] == "sig");
        let (Some(kid), Some(x), Some(y)) = (text(jwk, "kid"), text(jwk, "x"), text(jwk, "y")) else {
            continue;
        };
        if let (true, Ok(key)) = (fits, DecodingKey::from_ec_components(&x, &y)) {
            keys.insert(kid, key);
        }
    }
    keys
}
