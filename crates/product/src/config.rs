//! What is special to this service's configuration.

use std::net::{IpAddr, Ipv4Addr};

use auth::AuthConfig;
use chassis::Secret;
use commerce::Currency;
use serde::{Deserialize, Serialize};

/// The configuration. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on.
    pub bind: IpAddr,
    /// HTTP port.
    pub port: u16,
    /// Where products are kept: `sqlite:PATH`.
    pub database_url: String,
    /// Where events go.
    pub bus_url: String,
    /// Who issues access tokens.
    pub issuer: String,
    /// Where the issuer's keys are.
    pub jwks_url: String,
    /// The fleet's own key.
    pub internal_key: Secret,
    /// Issuers outside the house whose tokens are believed too; none.
    pub trusted_issuers: Vec<auth::TrustedIssuer>,
    /// The currency of a price that is given without one.
    pub currency: Currency,
    /// Days that a published event is kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Hours that an Idempotency-Key is remembered; 24.
    pub idempotency_hours: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8086,
            database_url: "sqlite:souk-data/product.db".into(),
            bus_url: "embedded:souk-data/bus.db".into(),
            issuer: "http://127.0.0.1:8085".into(),
            jwks_url: "http://127.0.0.1:8085/.well-known/jwks.json".into(),
            internal_key: Secret::default(),
            trusted_issuers: Vec::new(),
            currency: Currency::EUR,
            outbox_days: 7,
            idempotency_hours: 24,
        }
    }
}

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.bind, self.port, None)
    }
}

impl Config {
    /// Who may call.
    pub fn auth(&self) -> AuthConfig {
        AuthConfig {
            issuer: self.issuer.clone(),
            jwks_url: self.jwks_url.clone(),
            internal_key: self.internal_key.clone(),
        }
    }
}
