//! The issuer of users' tokens, which runs in the service that stores the users.

use serde_json::Value;

use crate::claims::{AUDIENCE, Audience, Claims, new_jti, now};
use crate::key::SigningKey;
use crate::{AuthError, Role};

/// The issuer's signing key and name.
#[derive(Clone, Debug)]
pub struct Issuer {
    name: String,
    key: SigningKey,
}

/// The contents of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The user's id.
    pub subject: String,
    /// The user's roles; never [`Role::Service`].
    pub roles: Vec<Role>,
    /// The places that the user works in.
    pub stores: Vec<String>,
    /// The customer record of the user.
    pub customer_id: Option<String>,
    /// Lifetime, in seconds.
    pub ttl_seconds: i64,
}

/// A token, and what its issuer must store of it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token itself.
    pub token: String,
    /// When it expires, in seconds since 1970.
    pub expires_at: i64,
    /// Its id, by which it can be revoked.
    pub jti: String,
}

impl Issuer {
    /// An issuer with a new key. Its name is the `iss` of its tokens.
    pub fn generate(name: impl Into<String>) -> Result<Self, AuthError> {
        Ok(Self { name: name.into(), key: SigningKey::generate()? })
    }

    /// An issuer with an existing key.
    pub fn from_pkcs8(name: impl Into<String>, pkcs8: &[u8]) -> Result<Self, AuthError> {
        Ok(Self { name: name.into(), key: SigningKey::from_pkcs8(pkcs8, "the issuer's key")? })
    }

    /// The private key, to be kept in the issuer's store and nowhere else.
    pub fn pkcs8(&self) -> &[u8] {
        self.key.pkcs8()
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        self.key.kid()
    }

    /// The public key as an entry of a JWKS.
    pub fn jwk(&self) -> Value {
        self.key.jwk()
    }

    /// Signs a new token.
    pub fn issue(&self, new: NewToken) -> Result<Issued, AuthError> {
        let (now, jti) = (now(), new_jti());
        let claims = Claims {
            iss: self.name.clone(),
            aud: Audience::One(AUDIENCE.into()),
            sub: new.subject,
            exp: now + new.ttl_seconds,
            nbf: now,
            iat: now,
            jti: jti.clone(),
            roles: new.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            stores: new.stores,
            customer_id: new.customer_id,
            act: None,
        };
        Ok(Issued { token: self.key.sign(&claims)?, expires_at: claims.exp, jti })
    }
}
