//! The settings of this service.

use std::time::Duration;

use commerce::PlaceId;
use serde::{Deserialize, Serialize};
use service::Common;

/// The settings. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Port of gRPC.
    pub grpc_port: u16,
    /// URL of the order service, which is asked whether an expired reservation is still needed.
    pub order_url: String,
    /// URL of the product service, which is asked whether a product exists.
    pub product_url: String,
    /// Id of the logistics centre: created at the first start, and the place of reservations that name none; `logistics`.
    pub logistics_place: PlaceId,
    /// Whether a level that falls below its threshold requests goods from the logistics centre; true. An admin still has to
    /// approve the request.
    pub auto_replenish: bool,
    /// Seconds that a reservation is held before the order service is asked whether it is still needed; 900.
    pub reservation_seconds: u64,
    /// Milliseconds between two checks for expired reservations; 5,000.
    pub expire_every_ms: u64,
    /// Days that published events are kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Days that the inbox keeps the last sequence of an aggregate without new events; 30. Longer than the bus keeps messages.
    pub inbox_days: u64,
    /// Hours that the response to an Idempotency-Key is kept; 24.
    pub idempotency_hours: u64,
    /// Days that tombstones, which refuse late calls, are kept; 30.
    pub tombstone_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::of(crate::NAME, 8088),
            grpc_port: 50052,
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

impl Config {
    /// How long a reservation is held before the order service is asked.
    pub(crate) fn hold(&self) -> Duration {
        Duration::from_secs(self.reservation_seconds)
    }

    /// The pause between two checks for expired reservations.
    pub(crate) fn expire_every(&self) -> Duration {
        Duration::from_millis(self.expire_every_ms.max(10))
    }
}

service::settings!(Config, grpc_port);
