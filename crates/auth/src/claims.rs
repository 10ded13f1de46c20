//! The claims of our own tokens (RFC 9068).

use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};

/// The audience of our own tokens.
pub const AUDIENCE: &str = "souk";
pub(crate) const TYPE: &str = "at+jwt";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: Audience,
    pub(crate) sub: String,
    pub(crate) exp: i64,
    pub(crate) nbf: i64,
    pub(crate) iat: i64,
    pub(crate) jti: String,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stores: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<Act>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) sub: String,
}

/// Foreign issuers may name several audiences.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

pub(crate) fn header(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some(TYPE.into());
    header.kid = Some(kid.into());
    header
}

pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

pub(crate) fn new_jti() -> String {
    uuid::Uuid::now_v7().to_string()
}
