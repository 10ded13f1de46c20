//! P-256 signing keys and their public halves as JWKs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};

use crate::AuthError;
use crate::claims::{Claims, header};

/// A signing key; `Debug` shows its id alone.
#[derive(Clone)]
pub(crate) struct SigningKey {
    kid: String,
    x: String,
    y: String,
    pkcs8: Vec<u8>,
    encoding: EncodingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    pub(crate) fn generate() -> Result<Self, AuthError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| AuthError::Crypto)?;
        Self::from_pkcs8(document.as_ref(), "the new key")
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8], what: &'static str) -> Result<Self, AuthError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| AuthError::Key { what })?;
        // An uncompressed point: a byte 4, then x and y of 32 bytes each.
        let (x, y) = match pair.public_key().as_ref() {
            [4, point @ ..] if point.len() == 64 => {
                (BASE64_URL_SAFE_NO_PAD.encode(&point[..32]), BASE64_URL_SAFE_NO_PAD.encode(&point[32..]))
            }
            _ => return Err(AuthError::Key { what }),
        };
        let kid = thumbprint(&x, &y);
        Ok(Self { kid, x, y, pkcs8: pkcs8.to_vec(), encoding: EncodingKey::from_ec_der(pkcs8) })
    }

    /// Parses PEM or plain base64.
    pub(crate) fn from_text(text: &str, what: &'static str) -> Result<Self, AuthError> {
        let base64: String = text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .flat_map(str::chars)
            .filter(|char| !char.is_whitespace())
            .collect();
        let pkcs8 = BASE64_STANDARD.decode(base64).map_err(|_| AuthError::Key { what })?;
        Self::from_pkcs8(&pkcs8, what)
    }

    pub(crate) fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.pkcs8)
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn jwk(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": self.x, "y": self.y})
    }

    pub(crate) fn decoding(&self) -> Result<DecodingKey, AuthError> {
        DecodingKey::from_ec_components(&self.x, &self.y).map_err(|_| AuthError::Crypto)
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, AuthError> {
        jsonwebtoken::encode(&header(&self.kid), claims, &self.encoding).map_err(|_| AuthError::Crypto)
    }
}

/// The thumbprint by RFC 7638: a key has the same id everywhere.
fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}
