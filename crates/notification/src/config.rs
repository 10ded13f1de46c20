//! What can be set of the notification service.

use std::net::{IpAddr, Ipv4Addr};

use auth::AuthConfig;
use chassis::Secret;
use serde::{Deserialize, Serialize};

/// Settings of the notification service. Each is `SOUK_<FIELD>` in the environment; `PORT` and `DATABASE_URL` too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on; 127.0.0.1.
    pub bind: IpAddr,
    /// Port; 5001.
    pub port: u16,
    /// Own database; `sqlite:souk-data/notification.db`.
    pub database_url: String,
    /// Event bus; `embedded:souk-data/bus.db`.
    pub bus_url: String,
    /// `iss` of users' tokens; the customer service.
    pub issuer: String,
    /// Keys of users' tokens.
    pub jwks_url: String,
    /// Key of the fleet's own tokens, the same at every service.
    pub internal_key: Secret,
    /// Issuers outside the house whose tokens are believed too; none.
    pub trusted_issuers: Vec<auth::TrustedIssuer>,
    /// Most live streams at once; 1,000. One more gets 503.
    pub streams: usize,
    /// Days that the last event of a quiet aggregate is remembered; 30. Longer than the bus keeps messages.
    pub inbox_days: u64,
    /// Days that a notification is kept; 90.
    pub notification_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 5001,
            database_url: "sqlite:souk-data/notification.db".into(),
            bus_url: "embedded:souk-data/bus.db".into(),
            issuer: "http://127.0.0.1:8085".into(),
            jwks_url: "http://127.0.0.1:8085/.well-known/jwks.json".into(),
            internal_key: Secret::default(),
            trusted_issuers: Vec::new(),
            streams: 1_000,
            inbox_days: 30,
            notification_days: 90,
        }
    }
}

impl Config {
    /// Whom this service believes.
    pub fn auth(&self) -> AuthConfig {
        AuthConfig {
            issuer: self.issuer.clone(),
            jwks_url: self.jwks_url.clone(),
            internal_key: self.internal_key.clone(),
        }
    }
}

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.bind, self.port, None)
    }
}
