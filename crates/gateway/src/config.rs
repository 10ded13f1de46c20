//! The settings of the gateway.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use auth::AuthConfig;
use serde::{Deserialize, Serialize};

/// Settings of the gateway. Each is `SOUK_<FIELD>` in the environment; `PORT` too. The URL of a service may be a list of several,
/// separated by commas: requests go to the healthy ones in turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on; 127.0.0.1.
    pub bind: IpAddr,
    /// Port; 8080.
    pub port: u16,
    /// The accepted tokens, for the routes that the gateway answers itself.
    #[serde(flatten)]
    pub auth: AuthConfig,
    /// Customer service.
    pub customer_url: String,
    /// Product service.
    pub product_url: String,
    /// Order service.
    pub order_url: String,
    /// Stock service (REST).
    pub stock_url: String,
    /// Stock service (gRPC), for dialects.
    pub stock_grpc_url: String,
    /// Payment service (REST), for health checks only.
    pub payment_url: String,
    /// Payment service (gRPC).
    pub payment_grpc_url: String,
    /// Notification service.
    pub notification_url: String,
    /// Timeout in seconds from a request to the begin of its response; 10.
    pub timeout_seconds: u64,
    /// Timeouts of single services in seconds: `{"order":15,"notification":30}`.
    pub timeouts: BTreeMap<String, u64>,
    /// Dialects of older fleets to open, each on the ports of that fleet: `["crm"]`; none.
    pub dialects: Vec<String>,
    /// The bus of the other services, for dialects that translate events: the value of `bus_url` there; none.
    pub dialects_bus: String,
    /// RabbitMQ of the other programs of `ms-client`: `amqp://USER:PASSWORD@HOST:PORT/VHOST`; none.
    pub ms_client_amqp: chassis::Secret,
    /// Whether `quartet` requires a token for orders and payments; false.
    pub quartet_require_auth: bool,
    /// Secret of the tokens of `quartet`, if other programs verify them; derived from the fleet's key by default.
    pub quartet_jwt_secret: chassis::Secret,
    /// Algorithm of the tokens of `quartet`: `HS256` or `EdDSA`.
    pub quartet_jwt_algorithm: JwtAlgorithm,
    /// Issuers whose tokens `event-prospect` accepts on its gateway's port, such as a Keycloak realm; the fleet's own by default.
    pub event_prospect_issuer: Vec<auth::TrustedIssuer>,
    /// The limit that `multi-magasins` names in the refusal of a payment above it; the provider decides; 500.
    pub multi_magasins_limit: f64,
    /// Seconds within which the client of a dialect must get to know of its order, else the order service withdraws it; 60. At least as
    /// long as a client waits for a response.
    pub acknowledge_seconds: u64,
    /// Seconds between health checks of a replica; 5. An unreachable one is checked every second.
    pub health_seconds: u64,
}

/// The algorithm of an older fleet's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519 with a private key.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            auth: AuthConfig::default(),
            customer_url: local(8085),
            product_url: local(8086),
            order_url: local(8087),
            stock_url: local(8088),
            stock_grpc_url: local(50052),
            payment_url: local(8089),
            payment_grpc_url: local(50051),
            notification_url: local(5001),
            timeout_seconds: 10,
            timeouts: BTreeMap::new(),
            dialects: Vec::new(),
            dialects_bus: String::new(),
            ms_client_amqp: chassis::Secret::default(),
            quartet_require_auth: false,
            quartet_jwt_secret: chassis::Secret::default(),
            quartet_jwt_algorithm: JwtAlgorithm::Hs256,
            event_prospect_issuer: Vec::new(),
            multi_magasins_limit: 500.0,
            acknowledge_seconds: 60,
            health_seconds: 5,
        }
    }
}

impl Config {
    /// The timeout from a request to a service to the begin of its response.
    pub fn timeout(&self, service: &str) -> Duration {
        Duration::from_secs(self.timeouts.get(service).copied().unwrap_or(self.timeout_seconds))
    }
}

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.bind, self.port, None)
    }
}
