//! The fleet's own key: calls between services.

use std::time::Duration;

use chassis::Secret;
use moka::sync::Cache;

use crate::claims::{AUDIENCE, Act, Audience, Claims, new_jti, now};
use crate::key::SigningKey;
use crate::{AuthError, Role};

pub(crate) const ISSUER: &str = "souk:internal";
/// Life of an internal token, in seconds.
pub(crate) const TTL: i64 = 60;
/// For how long the same token is handed out again: half its life, so that it is never about to end.
const REUSE: Duration = Duration::from_secs(30);

/// The key that every service of the fleet signs its calls with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InternalKey {
    service: String,
    pub(crate) key: SigningKey,
    minted: Cache<String, String>,
}

impl InternalKey {
    /// A new key, for a fleet that starts.
    pub fn generate() -> Result<Self, AuthError> {
        Ok(Self::with(SigningKey::generate()?))
    }

    /// Reads `SOUK_INTERNAL_KEY`.
    pub fn parse(secret: &Secret) -> Result<Self, AuthError> {
        Ok(Self::with(SigningKey::from_text(secret.expose(), "internal_key (SOUK_INTERNAL_KEY)")?))
    }

    fn with(key: SigningKey) -> Self {
        let minted = Cache::builder().max_capacity(1_000).time_to_live(REUSE).build();
        Self { service: "souk".into(), key, minted }
    }

    /// The same key, used by the service of that name; its tokens say so in `sub`.
    pub fn for_service(mut self, service: &str) -> Self {
        self.service = service.to_owned();
        self.minted = Cache::builder().max_capacity(1_000).time_to_live(REUSE).build();
        self
    }

    /// The service whose name its tokens carry.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The key as the setting takes it.
    pub fn to_secret(&self) -> Secret {
        Secret::new(self.key.to_base64())
    }

    /// A token of a minute for a call made on behalf of `act` (a user's id, or the service itself).
    pub fn mint(&self, act: &str) -> Result<String, AuthError> {
        self.mint_as(act, Role::Service)
    }

    /// A token of a minute for whoever let somebody in by rules of his own, as a dialect without tokens does: it may what
    /// `role` may, and says in `act` who answers for it.
    pub fn mint_as(&self, act: &str, role: Role) -> Result<String, AuthError> {
        let minted = format!("{} {act}", role.as_str());
        if let Some(token) = self.minted.get(&minted) {
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
        self.minted.insert(minted, token.clone());
        Ok(token)
    }
}
