//! The keys of a foreign issuer: looked for when first needed, kept, and followed when they change.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::settings::{SignedBy, TrustedIssuer};

/// Longest wait for one answer of an issuer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than any issuer has to say of itself or of its keys.
const LONGEST: usize = 256 * 1024;
/// Most keys of one issuer.
const MOST_KEYS: usize = 100;

/// How often an issuer is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// An unknown key id makes for one look, but not more often than this: garbage must not flood the issuer.
    pub(super) between: Duration,
    /// Keys that are older are looked for again before they are used: one that was taken away ends by then.
    pub(super) max_age: Duration,
    /// After that its description is read again, which says where the keys are.
    pub(super) described: Duration,
}

impl Pace {
    pub(super) const USUAL: Self = Self {
        between: Duration::from_secs(2),
        max_age: Duration::from_secs(300),
        described: Duration::from_secs(3600),
    };
}

/// What became of a search for a key.
pub(super) enum Found {
    Key(Box<DecodingKey>),
    Unknown,
    Away,
}

/// A key, and what it may be used for.
struct Key {
    kid: Option<String>,
    /// The one algorithm that it says it is for.
    alg: Option<String>,
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

/// What kind of key an algorithm wants: never what the token says decides which one is used (RFC 8725, section 3.1).
fn wanted(algorithm: SignedBy) -> Kind {
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
struct Known {
    keys: Vec<Key>,
    since: Option<Instant>,
}

#[derive(Default)]
struct Looking {
    last: Option<Instant>,
    failed: bool,
    keys_at: Option<(String, Instant)>,
}

pub(super) struct Keys {
    issuer: String,
    described_at: String,
    pace: Pace,
    known: RwLock<Arc<Known>>,
    looking: Mutex<Looking>,
}

#[derive(Deserialize)]
struct Described {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl Keys {
    pub(super) fn new(settings: &TrustedIssuer, pace: Pace) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            described_at: settings.described_at(),
            pace,
            known: RwLock::default(),
            looking: Mutex::default(),
        }
    }

    /// The key that a token says it is signed with, after a look at the issuer when it is not known or the keys are
    /// old. Many callers make one look. When the issuer is away, what is known goes on.
    pub(super) async fn find(&self, kid: Option<&str>, algorithm: SignedBy, http: &reqwest::Client) -> Found {
        let known = self.known();
        if let (Some(key), false) = (known.find(kid, algorithm), self.is_old(&known)) {
            return Found::Key(Box::new(key));
        }
        let mut looking = match (known.find(kid, algorithm), self.looking.try_lock()) {
            // Somebody looks already, and an old key is better than waiting for an issuer that may have hung.
            (Some(key), Err(_)) => return Found::Key(Box::new(key)),
            (_, Ok(looking)) => looking,
            (None, Err(_)) => self.looking.lock().await,
        };
        let just_now = looking.last.is_some_and(|last| last.elapsed() < self.pace.between);
        let known = self.known();
        let enough = known.find(kid, algorithm).is_some() && !self.is_old(&known);
        if !enough && !just_now {
            self.look(&mut looking, http).await;
        }
        match self.known().find(kid, algorithm) {
            Some(key) => Found::Key(Box::new(key)),
            None if looking.failed => Found::Away,
            None => Found::Unknown,
        }
    }

    fn is_old(&self, known: &Known) -> bool {
        known.since.is_none_or(|since| since.elapsed() >= self.pace.max_age)
    }

    async fn look(&self, looking: &mut Looking, http: &reqwest::Client) {
        let outcome = self.fetch(looking, http).await;
        if outcome.is_err() != looking.failed {
            match &outcome {
                Ok(_) => tracing::info!(issuer = self.issuer, "the foreign issuer answers again"),
                Err(why) => {
                    tracing::warn!(
                        issuer = self.issuer,
                        why,
                        "no keys of the foreign issuer; going on with those known"
                    )
                }
            }
        }
        looking.failed = outcome.is_err();
        looking.last = Some(Instant::now());
        match outcome {
            Ok(keys) => {
                let known = Arc::new(Known { keys, since: looking.last });
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
            }
            // It may have moved: its description is read again next time.
            Err(_) => looking.keys_at = None,
        }
    }

    async fn fetch(&self, looking: &mut Looking, http: &reqwest::Client) -> Result<Vec<Key>, String> {
        let keys_at = match &looking.keys_at {
            Some((url, since)) if since.elapsed() < self.pace.described => url.clone(),
            _ => {
                let described: Described = get_json(http, &self.described_at).await?;
                // OpenID Connect Discovery 1.0, section 4.3: else one issuer could speak for another.
                if described.issuer != self.issuer {
                    return Err(format!("its description is that of {:?}", described.issuer));
                }
                looking.keys_at = Some((described.jwks_uri.clone(), Instant::now()));
                described.jwks_uri
            }
        };
        let jwks: Jwks = get_json(http, &keys_at).await?;
        Ok(jwks.keys.iter().take(MOST_KEYS).filter_map(usable).collect())
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    /// The key of that id that the algorithm fits. A token may name none if there is but one (OpenID Connect Core 1.0,
    /// section 10.1).
    fn find(&self, kid: Option<&str>, algorithm: SignedBy) -> Option<DecodingKey> {
        let name = format!("{algorithm:?}");
        let fits = |key: &&Key| key.kind == wanted(algorithm) && key.alg.as_ref().is_none_or(|alg| *alg == name);
        let mut fitting = self.keys.iter().filter(fits).filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let first = fitting.next()?;
        match fitting.next() {
            Some(_) => None,
            None => Some(first.decoding.clone()),
        }
    }
}

/// A public key for signatures (RFC 7517, RFC 7518, RFC 8037); all else is passed over.
fn usable(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk[name].as_str();
    if !jwk["use"].is_null() && jwk["use"] != "sig" {
        return None;
    }
    if let Some(operations) = jwk["key_ops"].as_array()
        && !operations.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let (kind, decoding) = match (text("kty")?, text("crv")) {
        ("RSA", _) => (Kind::Rsa, DecodingKey::from_rsa_components(text("n")?, text("e")?)),
        ("EC", Some("P-256")) => (Kind::P256, DecodingKey::from_ec_components(text("x")?, text("y")?)),
        ("EC", Some("P-384")) => (Kind::P384, DecodingKey::from_ec_components(text("x")?, text("y")?)),
        ("OKP", Some("Ed25519")) => (Kind::Ed25519, DecodingKey::from_ed_components(text("x")?)),
        _ => return None,
    };
    let own = |name: &str| text(name).map(str::to_owned);
    Some(Key { kid: own("kid"), alg: own("alg"), kind, decoding: decoding.ok()? })
}

async fn get_json<T: DeserializeOwned>(http: &reqwest::Client, url: &str) -> Result<T, String> {
    let whole = async {
        let answer = http.get(url).header(http::header::ACCEPT, "application/json").send().await;
        let mut answer = answer.and_then(reqwest::Response::error_for_status).map_err(|err| err.to_string())?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|err| err.to_string())? {
            if body.len() + part.len() > LONGEST {
                return Err(format!("{url} answers more than {LONGEST} bytes"));
            }
            body.extend_from_slice(&part);
        }
        serde_json::from_slice(&body).map_err(|err| format!("{url}: {err}"))
    };
    tokio::time::timeout(TIMEOUT, whole).await.unwrap_or_else(|_| Err(format!("{url} does not answer in time")))
}
