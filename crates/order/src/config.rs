//! What can be set of the order service.

use std::net::{IpAddr, Ipv4Addr};

use auth::AuthConfig;
use commerce::Currency;
use serde::{Deserialize, Serialize};

/// Settings of the order service. Each is `SOUK_<FIELD>` in the environment; `PORT` and `DATABASE_URL` too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on; 127.0.0.1.
    pub bind: IpAddr,
    /// REST port; 8087.
    pub port: u16,
    /// Own database; `sqlite:souk-data/order.db`.
    pub database_url: String,
    /// Event bus; `embedded:souk-data/bus.db`.
    pub bus_url: String,
    /// `iss` of users' tokens; the customer service.
    pub issuer: String,
    /// Keys of users' tokens.
    pub jwks_url: String,
    /// Key of the fleet's own tokens, the same at every service.
    pub internal_key: chassis::Secret,
    /// Issuers outside the house whose tokens are believed too; none.
    pub trusted_issuers: Vec<auth::TrustedIssuer>,
    /// Customer service (REST).
    pub customer_url: String,
    /// Product service (GraphQL).
    pub product_url: String,
    /// Stock service (REST), for places.
    pub stock_url: String,
    /// Stock service (gRPC).
    pub stock_grpc_url: String,
    /// Payment service (gRPC).
    pub payment_grpc_url: String,
    /// Currency of orders that name none, and of the catalogue; EUR.
    pub currency: Currency,
    /// Place of orders that name none; `logistics`.
    pub default_place: String,
    /// Seconds that a lease on an order lasts; 10. A dead replica's orders wait that long.
    pub lease_seconds: u64,
    /// Seconds that a client waits for the outcome before it gets 202; 5.
    pub checkout_seconds: u64,
    /// Seconds that an order waits for a neighbour that is away before it is cancelled; 300.
    pub patience_seconds: u64,
    /// Hours that an Idempotency-Key is remembered; 24.
    pub idempotency_hours: u64,
    /// Days that a guest's cart is kept after its last change; 30.
    pub guest_cart_days: u64,
    /// No other replica uses this store, so leases found at start are dead; false.
    pub sole_replica: bool,
    /// Days that a published event is kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Days that the last event of a quiet aggregate is remembered; 30. Longer than the bus keeps messages.
    pub inbox_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8087,
            database_url: "sqlite:souk-data/order.db".into(),
            bus_url: "embedded:souk-data/bus.db".into(),
            issuer: "http://127.0.0.1:8085".into(),
            jwks_url: "http://127.0.0.1:8085/.well-known/jwks.json".into(),
            internal_key: chassis::Secret::default(),
            trusted_issuers: Vec::new(),
            customer_url: "http://127.0.0.1:8085".into(),
            product_url: "http://127.0.0.1:8086".into(),
            stock_url: "http://127.0.0.1:8088".into(),
            stock_grpc_url: "http://127.0.0.1:50052".into(),
            payment_grpc_url: "http://127.0.0.1:50051".into(),
            currency: Currency::EUR,
            default_place: "logistics".into(),
            lease_seconds: 10,
            checkout_seconds: 5,
            patience_seconds: 300,
            idempotency_hours: 24,
            guest_cart_days: 30,
            sole_replica: false,
            outbox_days: 7,
            inbox_days: 30,
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
