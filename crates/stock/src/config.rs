//! What is special to this service's configuration.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use auth::AuthConfig;
use chassis::Secret;
use commerce::PlaceId;
use serde::{Deserialize, Serialize};

/// The configuration. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port of REST.
    pub port: u16,
    /// Port of gRPC.
    pub grpc_port: u16,
    /// Where stock is kept: `sqlite:PATH`.
    pub database_url: String,
    /// Where events go and come from.
    pub bus_url: String,
    /// Who issues access tokens.
    pub issuer: String,
    /// Where the issuer's keys are.
    pub jwks_url: String,
    /// The fleet's own key.
    pub internal_key: Secret,
    /// Issuers outside the house whose tokens are believed too; none.
    pub trusted_issuers: Vec<auth::TrustedIssuer>,
    /// Where the order service is.
    pub order_url: String,
    /// Where the product service is: it knows which products there are.
    pub product_url: String,
    /// The logistics centre: made at the first start, and taken where a reservation names no place.
    pub logistics_place: PlaceId,
    /// Whether a level that falls below its threshold asks the logistics centre for goods by itself; true. Head office still
    /// has to approve.
    pub auto_replenish: bool,
    /// How long goods are set aside before the order service is asked, in seconds.
    pub reservation_seconds: u64,
    /// How often reservations past their time are looked for, in milliseconds.
    pub expire_every_ms: u64,
    /// Days that a published event is kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Days that the last event of a quiet aggregate is remembered; 30. Longer than the bus keeps messages.
    pub inbox_days: u64,
    /// Hours that an Idempotency-Key is remembered; 24.
    pub idempotency_hours: u64,
    /// Days that a tombstone, which refuses late calls, is kept; 30.
    pub tombstone_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8088,
            grpc_port: 50052,
            database_url: "sqlite:souk-data/stock.db".into(),
            bus_url: "embedded:souk-data/bus.db".into(),
            issuer: "http://127.0.0.1:8085".into(),
            jwks_url: "http://127.0.0.1:8085/.well-known/jwks.json".into(),
            internal_key: Secret::default(),
            trusted_issuers: Vec::new(),
            order_url: "http://127.0.0.1:8087".into(),
            product_url: "http://127.0.0.1:8086".into(),
            logistics_place: PlaceId::trusted("logistics".into()),
            auto_replenish: true,
            reservation_seconds: 15 * 60,
            expire_every_ms: 5_000,
            outbox_days: 7,
            inbox_days: 30,
            idempotency_hours: 24,
            tombstone_days: 30,
        }
    }
}

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.bind, self.port, Some(self.grpc_port))
    }
}

impl Config {
    /// Who may call.
    pub(crate) fn auth(&self) -> AuthConfig {
        AuthConfig {
            issuer: self.issuer.clone(),
            jwks_url: self.jwks_url.clone(),
            internal_key: self.internal_key.clone(),
        }
    }

    /// How long goods are set aside before somebody asks.
    pub(crate) fn hold(&self) -> Duration {
        Duration::from_secs(self.reservation_seconds)
    }

    /// How often reservations past their time are looked for.
    pub(crate) fn expire_every(&self) -> Duration {
        Duration::from_millis(self.expire_every_ms.max(10))
    }
}
