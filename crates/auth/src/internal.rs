//! The fleet's internal key, which signs the tokens of calls between services.

use std::time::Duration;

use chassis::Secret;
use moka::sync::Cache;

use crate::claims::{AUDIENCE, Act, Audience, Claims, new_jti, now};
use crate::key::SigningKey;
use crate::{AuthError, Role};

pub(crate) const ISSUER: &str = "souk:internal";
/// Lifetime of an internal token, in seconds.
pub(crate) const TTL: i64 = 60;
/// How long a token is reused: half its lifetime, so that it does not expire during a call.
const REUSE: Duration = Duration::from_secs(30);

/// The key by which every service of the fleet signs its calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InternalKey {
    service: String,
    pub(crate) key: SigningKey,
    minted: Cache<String, String>,
}

impl InternalKey {
    /// Generates a key, for a new fleet.
    pub fn generate() -> Result<Self, AuthError> {
        Ok(Self::with(SigningKey::generate()?))
    }

    /// Parses `SOUK_INTERNAL_KEY`.
    pub fn parse(secret: &Secret) -> Result<Self, AuthError> {
        Ok(Self::with(SigningKey::from_text(secret.expose(), "internal_key (SOUK_INTERNAL_KEY)")?))
    }

    fn with(key: SigningKey) -> Self {
        let minted = Cache::builder().max_capacity(1_000).time_to_live(REUSE).build();
        Self { service: "souk".into(), key, minted }
    }

    /// The same key for the service of this name, which is the `sub` of its tokens.
    pub fn for_service(mut self, service: &str) -> Self {
        self.service = service.to_owned();
        self.minted = Cache::builder().max_capacity(1_000).time_to_live(REUSE).build();
        self
    }

    /// The service that is the `sub` of its tokens.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The key in the format of the setting.
    pub fn to_secret(&self) -> Secret {
        Secret::new(self.key.to_base64())
    }

    /// A token, valid for a minute, for a call on behalf of `act` (a user's id, or the service itself).
    pub fn mint(&self, act: &str) -> Result<String, AuthError> {
        self.mint_as(act, Role::Service)
    }

    /// A token, valid for a minute, with another role than `service`. For an API that authenticates its callers by rules of its
    /// own, as a dialect without tokens does; `act` is the user or API on whose behalf it calls.
    pub fn mint_as(&self, act: &str, role: Role) -> Result<String, AuthError> {
        let cache_key = format!("{} {act}", role.as_str());
        if let Some(token) = self.minted.get(&cache_key) {
            return Ok(token);
        }
        let now = now();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: Audience::One(AUDIENCE.into()),
            sub: self.service.clone(),
            exp: now + TTL,
            nbf: now,
            iat: now,
            jti: new_jti(),
            roles: vec![role.as_str().into()],
            stores: Vec::new(),
            customer_id: None,
            act: Some(Act { sub: act.to_owned() }),
        };
        let token = self.key.sign(&claims)?;
        self.minted.insert(cache_key, token.clone());
        Ok(token)
    }
}
