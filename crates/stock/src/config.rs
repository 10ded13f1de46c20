//! What is special to this service's configuration.

use std::{net::IpAddr, time::Duration};

use commerce::PlaceId;
use serde::{Deserialize, Serialize};
use service::Common;

/// The configuration. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Port of gRPC.
    pub grpc_port: u16,
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

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.common.bind, self.common.port, Some(self.grpc_port))
    }
}

impl Config {
    /// How long goods are set aside before somebody asks.
    pub(crate) fn hold(&self) -> Duration {
        Duration::from_secs(self.reservation_seconds)
    }

    /// How often reservations past their time are looked for.
    pub(crate) fn expire_every(&self) -> Duration {
        Duration::from_millis(self.expire_every_ms.max(10))
    }
}

impl service::Settings for Config {
    fn common(&mut self) -> &mut Common {
        &mut self.common
    }
}
