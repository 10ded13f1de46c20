//! What can be set of the gateway.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use auth::AuthConfig;
use serde::{Deserialize, Serialize};

/// Settings of the gateway. Each is `SOUK_<FIELD>` in the environment; `PORT` too. A URL of a service may
/// be several, parted by commas: they are taken in turn, those that are healthy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on; 127.0.0.1.
    pub bind: IpAddr,
    /// Port; 8080.
    pub port: u16,
    /// `iss` of users' tokens; the customer service.
    pub issuer: String,
    /// Keys of users' tokens.
    pub jwks_url: String,
    /// Key of the fleet's own tokens, the same at every service.
    pub internal_key: chassis::Secret,
    /// Customer service.
    pub customer_url: String,
    /// Product service.
    pub product_url: String,
    /// Order service.
    pub order_url: String,
    /// Stock service (REST).
    pub stock_url: String,
    /// Payment service (REST), asked only whether it is well.
    pub payment_url: String,
    /// Payment service (gRPC).
    pub payment_grpc_url: String,
    /// Notification service.
    pub notification_url: String,
    /// Seconds that a request may take until its answer begins; 10.
    pub timeout_seconds: u64,
    /// Seconds for routes of one service instead: `{"order":15,"notification":30}`.
    pub timeouts: BTreeMap<String, u64>,
    /// Seconds between health checks of an upstream; 5. One that is away is looked at every second.
    pub health_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            issuer: local(8085),
            jwks_url: local(8085) + "/.well-known/jwks.json",
            internal_key: chassis::Secret::default(),
            customer_url: local(8085),
            product_url: local(8086),
            order_url: local(8087),
            stock_url: local(8088),
            payment_url: local(8089),
            payment_grpc_url: local(50051),
            notification_url: local(5001),
            timeout_seconds: 10,
            timeouts: BTreeMap::new(),
            health_seconds: 5,
        }
    }
}

impl Config {
    /// How long a request to a service may take until its answer begins.
    pub fn timeout(&self, service: &str) -> Duration {
        Duration::from_secs(self.timeouts.get(service).copied().unwrap_or(self.timeout_seconds))
    }

    /// Whom the gateway believes, where it answers itself.
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
