//! Access tokens: issued at login, revoked at logout, with the keys and revocations that other services read.
//!
//! The store is authoritative, and other replicas write to it: keys are read again on each request of the JWKS and for each
//! unknown key id, revocations every two seconds. Two replicas that start at the same time on an empty store may both create a
//! key; both keys are valid, and each replica publishes both.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use auth::{Caller, Issued, Issuer, LocalKeys, NewToken};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use commerce::Timestamp;
use serde_json::Value;

use crate::domain::User;
use crate::error::Error;
use crate::store::Store;

/// Keys looked up so short a time ago are as good as new: a JWKS that is asked for often costs little.
const FRESH: Duration = Duration::from_millis(250);

/// The signing keys, and the tokens that ended early. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tokens {
    store: Arc<Store>,
    issuer_name: Arc<str>,
    keys: Arc<RwLock<Arc<Keys>>>,
    // What the store has, at hand for every request; ends in seconds since 1970.
    revoked: Arc<RwLock<HashMap<String, i64>>>,
    ttl_seconds: i64,
}

struct Keys {
    /// Signs: the newest.
    issuer: Issuer,
    jwks: Vec<Value>,
    looked: Instant,
}

impl Tokens {
    /// Takes the signing keys from the store, and makes one at the first start.
    pub(crate) async fn open(store: Arc<Store>, issuer_name: &str, ttl_seconds: u32) -> Result<Self, Error> {
        let keys = match kept_keys(store.as_ref(), issuer_name).await? {
            Some(keys) => keys,
            None => {
                let issuer = Issuer::generate(issuer_name)?;
                store.add_signing_key(issuer.kid(), &BASE64_STANDARD.encode(issuer.pkcs8())).await?;
                // Read back, since another replica may have done the same just now.
                kept_keys(store.as_ref(), issuer_name).await?.ok_or(Error::Defect("the new signing key is not kept"))?
            }
        };
        let tokens = Self {
            issuer_name: issuer_name.into(),
            keys: Arc::new(RwLock::new(Arc::new(keys))),
            revoked: Arc::default(),
            ttl_seconds: i64::from(ttl_seconds),
            store,
        };
        tokens.follow_revoked().await?;
        Ok(tokens)
    }

    /// For this service's own verifier.
    pub(crate) fn local_keys(&self) -> LocalKeys {
        let revoked = Arc::clone(&self.revoked);
        let is_revoked =
            Arc::new(move |jti: &str| revoked.read().unwrap_or_else(PoisonError::into_inner).contains_key(jti));
        let tokens = self.clone();
        let fetch = Arc::new(move || -> futures::future::BoxFuture<'static, _> {
            let tokens = tokens.clone();
            Box::pin(async move { tokens.look().await.ok().map(|keys| keys.jwks.clone()) })
        });
        LocalKeys { jwks: self.keys().jwks.clone(), fetch, is_revoked }
    }

    /// The public keys; the cached ones while the store is unreachable.
    pub(crate) async fn jwks(&self) -> Vec<Value> {
        let known = self.keys();
        if known.looked.elapsed() < FRESH {
            return known.jwks.clone();
        }
        match self.look().await {
            Ok(keys) => keys.jwks.clone(),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "going on with the keys that are known");
                known.jwks.clone()
            }
        }
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look(&self) -> Result<Arc<Keys>, Error> {
        let kept = kept_keys(self.store.as_ref(), &self.issuer_name).await?;
        let keys = Arc::new(kept.ok_or(Error::Defect("the signing keys are gone from the store"))?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        Ok(keys)
    }

    /// A new token for a user, and the user as the token describes it.
    ///
    /// The user is read again after the token was recorded: a change of roles revokes the tokens recorded before it, so no
    /// token with outdated roles can slip through between.
    pub(crate) async fn issue(&self, user: User) -> Result<(Issued, User), Error> {
        let mut user = user;
        loop {
            let issued = self.keys().issuer.issue(NewToken {
                subject: user.id.as_str().to_owned(),
                roles: user.roles.clone(),
                stores: user.stores.clone(),
                customer_id: user.customer_id.as_ref().map(|id| id.as_str().to_owned()),
                ttl_seconds: self.ttl_seconds,
            })?;
            self.store.record_token(&issued.jti, &user.id, issued.expires_at).await?;
            let now = self.store.user(&user.id).await?.ok_or(Error::BadLogin)?;
            if now.version == user.version {
                return Ok((issued, now));
            }
            user = now;
        }
    }

    /// Ends the caller's token, durably.
    pub(crate) async fn revoke(&self, caller: &Caller) -> Result<(), Error> {
        self.store.revoke_token(&caller.jti, &caller.subject, caller.expires_at).await?;
        self.remember([(caller.jti.clone(), caller.expires_at)]);
        Ok(())
    }

    /// Notes tokens that the store has ended along with something else.
    pub(crate) fn ended(&self, jtis: Vec<String>) {
        let latest = now() + self.ttl_seconds;
        self.remember(jtis.into_iter().map(|jti| (jti, latest)));
    }

    /// Learns what other replicas have ended.
    pub(crate) async fn follow_revoked(&self) -> Result<(), Error> {
        let ended = self.store.revoked_tokens().await?;
        // Added, not put in place of what is known: this process may have ended one since the store was asked.
        self.remember(ended);
        Ok(())
    }

    /// Ids of the tokens that ended early and would not have expired yet.
    pub(crate) fn revoked(&self) -> Vec<String> {
        let now = now();
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.iter().filter(|(_, expires_at)| **expires_at >= now).map(|(jti, _)| jti.clone()).collect()
    }

    fn remember(&self, ended: impl IntoIterator<Item = (String, i64)>) {
        let now = now();
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|_, expires_at| *expires_at >= now);
        revoked.extend(ended);
    }
}

/// The keys in the store; `None` if there are none yet.
async fn kept_keys(store: &Store, issuer_name: &str) -> Result<Option<Keys>, Error> {
    let mut issuers = Vec::new();
    for pkcs8 in store.signing_keys().await? {
        let pkcs8 = BASE64_STANDARD.decode(pkcs8).map_err(|_| Error::Defect("a kept signing key is not base64"))?;
        issuers.push(Issuer::from_pkcs8(issuer_name, &pkcs8)?);
    }
    if issuers.is_empty() {
        return Ok(None);
    }
    let jwks = issuers.iter().map(Issuer::jwk).collect();
    Ok(Some(Keys { issuer: issuers.swap_remove(0), jwks, looked: Instant::now() }))
}

fn now() -> i64 {
    Timestamp::now().micros() / 1_000_000
}
