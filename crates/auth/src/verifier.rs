//! Verifies tokens (RFC 8725, RFC 9068).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chassis::{Kind, Problem};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use moka::sync::Cache;

use crate::claims::{AUDIENCE, Claims, TYPE, now};
use crate::internal::{self, InternalKey};
use crate::jwks::{Keys, LocalKeys, Lookup};
use crate::oidc::{ForeignIssuers, TrustedIssuer};
use crate::{AuthConfig, AuthError, Caller, Role};

/// Tolerance for clock differences, in seconds.
const LEEWAY: u64 = 5;
/// Longer than any of our tokens; a larger one is refused before it is hashed and parsed.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How often keys and revocations are refreshed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
const CACHED_TOKENS: u64 = 10_000;

/// Verifies tokens of the issuer, of the fleet, and of trusted foreign issuers. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
    foreign: Option<ForeignIssuers>,
}

struct Inner {
    issuer: String,
    keys: Keys,
    internal: Option<(String, DecodingKey)>,
    cache: Cache<[u8; 32], Arc<Caller>>,
    refreshing: AtomicBool,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("issuer", &self.inner.issuer).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for the issuers and the internal key of the settings. Fetches nothing before the first token.
    pub fn new(config: &AuthConfig) -> Result<Self, AuthError> {
        Self::build(config, Keys::remote(&config.jwks_url))
    }

    /// A verifier in the process of the issuer: uses its keys directly instead of over HTTP.
    pub fn with_local_keys(config: &AuthConfig, local: &LocalKeys) -> Result<Self, AuthError> {
        Self::build(config, Keys::local(local))
    }

    fn build(config: &AuthConfig, keys: Keys) -> Result<Self, AuthError> {
        let internal = if config.internal_key.is_empty() {
            None
        } else {
            let key = InternalKey::parse(&config.internal_key)?.key;
            Some((key.kid().to_owned(), key.decoding()?))
        };
        let cache = Cache::builder().max_capacity(CACHED_TOKENS).build();
        let inner = Inner { issuer: config.issuer.clone(), keys, internal, cache, refreshing: AtomicBool::new(false) };
        let foreign = foreign(&config.trusted_issuers, &config.issuer)?;
        Ok(Self { inner: Arc::new(inner), foreign })
    }

    /// Returns the caller of a token; 401 for an invalid token, 503 if the issuer's keys cannot be fetched.
    pub async fn verify(&self, bearer: &str) -> Result<Caller, Problem> {
        if let Some(foreign) = self.foreign.as_ref().filter(|foreign| foreign.is_of_trusted_issuer(bearer)) {
            // Not cached: its signature is checked against the current keys each time.
            return Ok(foreign.verify(bearer).await?.caller);
        }
        if bearer.len() > MAX_TOKEN_BYTES {
            return Err(refused("is too long"));
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bearer.as_bytes()).as_ref());
        let caller = match self.inner.cache.get(&hash) {
            Some(caller) => caller,
            None => {
                let caller = Arc::new(self.verify_uncached(bearer).await?);
                self.inner.cache.insert(hash, caller.clone());
                caller
            }
        };
        if caller.expires_at + i64::try_from(LEEWAY).unwrap_or(0) <= now() {
            self.inner.cache.invalidate(&hash);
            return Err(refused("has expired"));
        }
        if self.inner.keys.is_revoked(&caller.jti) {
            return Err(refused("was revoked"));
        }
        Ok(caller.as_ref().clone())
    }

    async fn verify_uncached(&self, bearer: &str) -> Result<Caller, Problem> {
        let header = decode_header(bearer).map_err(|_| refused("is not a signed JWT with a supported algorithm"))?;
        if header.alg != Algorithm::ES256 {
            return Err(refused("is not signed with ES256"));
        }
        let typ = header.typ.as_deref().map(|typ| typ.trim_start_matches("application/"));
        if !typ.is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE)) {
            return Err(refused("is not an access token"));
        }
        if header.crit.is_some() {
            return Err(refused("has an unsupported critical header"));
        }
        let kid = header.kid.as_deref().ok_or_else(|| refused("has no key id"))?;
        match &self.inner.internal {
            Some((known, key)) if known == kid => internal_caller(&check(bearer, key, internal::ISSUER)?),
            _ => {
                let key = self.issuer_key(kid).await?;
                user(&check(bearer, &key, &self.inner.issuer)?)
            }
        }
    }

    async fn issuer_key(&self, kid: &str) -> Result<DecodingKey, Problem> {
        let lookup = self.inner.keys.find(kid).await;
        if !self.inner.keys.is_local() && !self.inner.refreshing.swap(true, Ordering::AcqRel) {
            tokio::spawn(refresh(Arc::downgrade(&self.inner)));
        }
        match lookup {
            Lookup::Key(key) => Ok(*key),
            Lookup::Unknown => Err(refused("is signed with an unknown key")),
            Lookup::Unavailable => {
                Err(Problem::new(Kind::Unavailable, "The issuer's keys cannot be fetched at the moment.")
                    .retry_after(2))
            }
        }
    }
}

/// Refreshes the issuer's keys and revocations as long as the verifier exists.
async fn refresh(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.keys.refresh().await {
            // A key was removed: tokens that it signed are not valid any more.
            inner.cache.invalidate_all();
        }
    }
}

/// The foreign issuers; none may have the `iss` of the fleet's own.
fn foreign(issuers: &[TrustedIssuer], own: &str) -> Result<Option<ForeignIssuers>, AuthError> {
    if let Some(same) = issuers.iter().find(|issuer| issuer.issuer == own) {
        return Err(AuthError::Issuer { issuer: same.issuer.clone(), why: "it is the fleet's own issuer".into() });
    }
    if issuers.is_empty() { Ok(None) } else { ForeignIssuers::new(issuers, None).map(Some) }
}

fn check(bearer: &str, key: &DecodingKey, issuer: &str) -> Result<Claims, Problem> {
    let mut rules = Validation::new(Algorithm::ES256);
    rules.leeway = LEEWAY;
    rules.validate_nbf = true;
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[issuer]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    let claims = decode::<Claims>(bearer, key, &rules)
        .map_err(|err| Problem::unauthenticated(format!("The token is refused: {err}.")))?
        .claims;
    if claims.iat > now() + i64::try_from(LEEWAY).unwrap_or(0) {
        return Err(refused("was issued in the future"));
    }
    if claims.sub.is_empty() || claims.jti.is_empty() {
        return Err(refused("has no subject or no id"));
    }
    Ok(claims)
}

fn user(claims: &Claims) -> Result<Caller, Problem> {
    if claims.roles.iter().any(|role| role == Role::Service.as_str()) || claims.act.is_some() {
        return Err(refused("has the role service, which only the fleet's key may grant"));
    }
    Ok(caller(claims))
}

fn internal_caller(claims: &Claims) -> Result<Caller, Problem> {
    let one_role = matches!(claims.roles.as_slice(), [role] if Role::parse(role).is_some());
    if !one_role || claims.act.is_none() || claims.exp - claims.iat > internal::TTL {
        return Err(refused("is not a valid token between services"));
    }
    Ok(caller(claims))
}

fn caller(claims: &Claims) -> Caller {
    Caller {
        subject: claims.sub.clone(),
        // Unknown roles are ignored.
        roles: claims.roles.iter().filter_map(|role| Role::parse(role)).collect(),
        stores: claims.stores.clone(),
        customer_id: claims.customer_id.clone(),
        act: claims.act.as_ref().map(|act| act.sub.clone()),
        jti: claims.jti.clone(),
        expires_at: claims.exp,
    }
}

fn refused(why: &str) -> Problem {
    Problem::unauthenticated(format!("The token {why}."))
}
