//! Tokens: given out at login, ended at logout, and what others need to know of both.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use auth::{Caller, Issued, Issuer, LocalKeys, NewToken};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use commerce::Timestamp;
use serde_json::Value;

use crate::domain::User;
use crate::error::Error;
use crate::store::Store;

/// The signing key, and the tokens that ended early. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tokens {
    store: Arc<dyn Store>,
    issuer: Arc<Issuer>,
    jwks: Arc<Vec<Value>>,
    // What the store has, at hand for every request; ends in seconds since 1970.
    revoked: Arc<RwLock<HashMap<String, i64>>>,
    ttl_seconds: i64,
}

impl Tokens {
    /// Takes the signing keys from the store, and makes one at the first start.
    pub(crate) async fn open(store: Arc<dyn Store>, issuer_name: &str, ttl_seconds: u32) -> Result<Self, Error> {
        let mut issuers = Vec::new();
        for pkcs8 in store.signing_keys().await? {
            let pkcs8 = BASE64_STANDARD.decode(pkcs8).map_err(|_| Error::Defect("a kept signing key is not base64"))?;
            issuers.push(Issuer::from_pkcs8(issuer_name, &pkcs8)?);
        }
        if issuers.is_empty() {
            let issuer = Issuer::generate(issuer_name)?;
            store.add_signing_key(issuer.kid(), &BASE64_STANDARD.encode(issuer.pkcs8())).await?;
            issuers.push(issuer);
        }
        let jwks = issuers.iter().map(Issuer::jwk).collect();
        let revoked = store.revoked_tokens().await?.into_iter().collect();
        Ok(Self {
            issuer: Arc::new(issuers.swap_remove(0)),
            jwks: Arc::new(jwks),
            revoked: Arc::new(RwLock::new(revoked)),
            ttl_seconds: i64::from(ttl_seconds),
            store,
        })
    }

    /// For this service's own verifier.
    pub(crate) fn local_keys(&self) -> LocalKeys {
        let revoked = Arc::clone(&self.revoked);
        let is_revoked =
            Arc::new(move |jti: &str| revoked.read().unwrap_or_else(PoisonError::into_inner).contains_key(jti));
        LocalKeys { jwks: self.jwks.as_ref().clone(), is_revoked }
    }

    /// The public keys.
    pub(crate) fn jwks(&self) -> &[Value] {
        &self.jwks
    }

    /// A new token for a user.
    pub(crate) async fn issue(&self, user: &User) -> Result<Issued, Error> {
        let issued = self.issuer.issue(NewToken {
            subject: user.id.as_str().to_owned(),
            roles: user.roles.clone(),
            stores: user.stores.clone(),
            customer_id: user.customer_id.as_ref().map(|id| id.as_str().to_owned()),
            ttl_seconds: self.ttl_seconds,
        })?;
        self.store.note_token(&issued.jti, &user.id, issued.expires_at).await?;
        Ok(issued)
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

fn now() -> i64 {
    Timestamp::now().micros() / 1_000_000
}
