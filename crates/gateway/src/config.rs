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
    /// Which tokens are accepted, where the gateway answers itself.
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
    /// Older fleets' dialects to open, each on the ports that its clients know: `["crm"]`; none.
    pub dialects: Vec<String>,
    /// The bus of the other services, for dialects that translate events: its URL as `bus_url` there; none.
    pub dialects_bus: String,
    /// RabbitMQ of `ms-client`'s other programs: `amqp://USER:PASSWORD@HOST:PORT/VHOST`; none.
    pub ms_client_amqp: chassis::Secret,
    /// Whether `quartet` wants a token on orders and payments; false.
    pub quartet_require_auth: bool,
    /// Secret of `quartet`'s tokens, where other programs verify them; made of the fleet's key if not said.
    pub quartet_jwt_secret: chassis::Secret,
    /// How `quartet`'s tokens are signed: `HS256` or `EdDSA`.
    pub quartet_jwt_algorithm: JwtAlgorithm,
    /// Whose tokens `event-prospect` takes on its gateway's port, as a Keycloak realm; the house's own if none is named.
    pub event_prospect_issuer: Vec<auth::TrustedIssuer>,
    /// What `multi-magasins` names as the limit of a payment when one above it is refused; the provider decides; 500.
    pub multi_magasins_limit: f64,
    /// Seconds between health checks of an upstream; 5. One that is away is looked at every second.
    pub health_seconds: u64,
}

/// How an older fleet's tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// By a secret that all have.
    #[serde(rename = "HS256")]
    Hs256,
    /// By a key of its own (Ed25519).
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
            health_seconds: 5,
        }
    }
}

impl Config {
    /// How long a request to a service may take until its answer begins.
    pub fn timeout(&self, service: &str) -> Duration {
        Duration::from_secs(self.timeouts.get(service).copied().unwrap_or(self.timeout_seconds))
    }
}

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.bind, self.port, None)
    }
}
