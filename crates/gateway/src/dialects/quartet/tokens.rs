//! The old fleet's tokens: `id`, `email`, `username`, for an hour. The settings choose the algorithm, never the
//! client (RFC 8725, section 3.1).

use std::sync::Arc;

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use commerce::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::config::{Config, JwtAlgorithm};

/// An hour.
const TTL_SECONDS: i64 = 3_600;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    id: String,
    email: String,
    username: String,
    iat: i64,
    exp: i64,
}

/// Signs and verifies tokens. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens {
    algorithm: Algorithm,
    sign: Arc<EncodingKey>,
    check: Arc<DecodingKey>,
}

impl Tokens {
    /// By the secret in the settings, or else by one that follows from the fleet's key, so that all replicas have the same.
    pub(super) fn of(config: &Config) -> Self {
        let secret =
            if config.quartet_jwt_secret.is_empty() { &config.auth.internal_key } else { &config.quartet_jwt_secret };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let derived = hmac::sign(&key, b"quartet access tokens");
        if config.quartet_jwt_algorithm == JwtAlgorithm::EdDsa
            && let Some((sign, check)) = ed25519(derived.as_ref())
        {
            return Self { algorithm: Algorithm::EdDSA, sign: Arc::new(sign), check: Arc::new(check) };
        }
        // A secret that was set is the old fleet's own: its other programs verify with it.
        let bytes = if config.quartet_jwt_secret.is_empty() { derived.as_ref() } else { secret.expose().as_bytes() };
        Self {
            algorithm: Algorithm::HS256,
            sign: Arc::new(EncodingKey::from_secret(bytes)),
            check: Arc::new(DecodingKey::from_secret(bytes)),
        }
    }

    /// A new token.
    pub(super) fn issue(&self, id: &str, email: &str, username: &str) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = Timestamp::now().micros() / 1_000_000;
        let claims =
            Claims { id: id.into(), email: email.into(), username: username.into(), iat, exp: iat + TTL_SECONDS };
        encode(&Header::new(self.algorithm), &claims, &self.sign)
    }

    /// Whether a token has a valid signature and has not expired.
    pub(super) fn is_valid(&self, token: &str) -> bool {
        let mut rules = Validation::new(self.algorithm);
        rules.leeway = 5;
        rules.validate_aud = false;
        decode::<Claims>(token, &self.check, &rules).is_ok()
    }
}

/// A pair of keys from 32 bytes.
fn ed25519(seed: &[u8]) -> Option<(EncodingKey, DecodingKey)> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.get(..32)?).ok()?;
    let private = pair.to_pkcs8().ok()?;
    Some((EncodingKey::from_ed_der(private.as_ref()), DecodingKey::from_ed_der(pair.public_key().as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(algorithm: JwtAlgorithm, secret: &str) -> Tokens {
        let key = auth::InternalKey::generate().expect("a key").to_secret();
        let config = Config {
            auth: auth::AuthConfig { internal_key: key, ..Default::default() },
            quartet_jwt_algorithm: algorithm,
            quartet_jwt_secret: chassis::Secret::new(secret),
            ..Config::default()
        };
        Tokens::of(&config)
    }

    #[test]
    fn a_token_is_believed_by_its_own_fleet_alone() {
        for algorithm in [JwtAlgorithm::Hs256, JwtAlgorithm::EdDsa] {
            let (ours, theirs) = (tokens(algorithm, ""), tokens(algorithm, ""));
            let token = ours.issue("c1", "a@b.example", "a").expect("signs");
            assert!(ours.is_valid(&token) && !theirs.is_valid(&token), "{algorithm:?}");
        }
    }

    #[test]
    fn the_client_does_not_choose_the_algorithm() {
        let (by_secret, by_key) = (tokens(JwtAlgorithm::Hs256, "s3cret"), tokens(JwtAlgorithm::EdDsa, "s3cret"));
        let token = by_secret.issue("c1", "a@b.example", "a").expect("signs");
        assert!(!by_key.is_valid(&token));
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap_or_default());
        assert!(!by_secret.is_valid(&unsigned));
    }

    #[test]
    fn a_secret_that_is_set_is_the_one_that_other_programs_verify_with() {
        let token = tokens(JwtAlgorithm::Hs256, "s3cret").issue("c1", "a@b.example", "a").expect("signs");
        let rules = Validation::new(Algorithm::HS256);
        assert!(decode::<Claims>(&token, &DecodingKey::from_secret(b"s3cret"), &rules).is_ok());
    }
}
