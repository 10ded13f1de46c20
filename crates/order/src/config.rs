//! Settings of the order service.

use commerce::Currency;
use serde::{Deserialize, Serialize};
use service::Common;

/// Settings of the order service. Each is `SOUK_<FIELD>` in the environment; `PORT` and `DATABASE_URL` too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Customer service (REST).
    pub customer_url: String,
    /// Product service (GraphQL).
    pub product_url: String,
    /// Stock service (REST), for places and levels.
    pub stock_url: String,
    /// Stock service (gRPC).
    pub stock_grpc_url: String,
    /// Payment service (gRPC).
    pub payment_grpc_url: String,
    /// Currency of orders without a currency, and of carts; EUR.
    pub currency: Currency,
    /// Place of orders without a place; `logistics`.
    pub default_place: String,
    /// Seconds within which the orders of a crashed replica are taken over; 10.
    pub lease_seconds: u64,
    /// Seconds that a request waits for the outcome of its order before it is answered with 202; 5.
    pub checkout_seconds: u64,
    /// Seconds that an order waits for an unreachable peer service before it is cancelled; 300.
    pub patience_seconds: u64,
    /// Hours that an Idempotency-Key is kept; 24.
    pub idempotency_hours: u64,
    /// Days that a guest's cart is kept after its last change; 30.
    pub guest_cart_days: u64,
    /// Whether no other replica uses the store, so that leases found at start are taken over at once; false.
    pub sole_replica: bool,
    /// Days that a published event is kept in the outbox, for the audit; 7.
    pub outbox_days: u64,
    /// Days that the inbox keeps the last sequence of a subject without new events; 30. Must exceed the retention of the bus.
    pub inbox_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::of(crate::NAME, 8087),
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

service::settings!(Config);
