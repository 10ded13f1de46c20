//! The settings of this service.

use serde::{Deserialize, Serialize};
use service::Common;

/// Settings of the notification service. Each is `SOUK_<FIELD>` in the environment; `PORT` and `DATABASE_URL` too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Most live streams at once; 1,000. One more gets 503.
    pub streams: usize,
    /// Days that the last event of a quiet aggregate is remembered; 30. Longer than the bus keeps messages.
    pub inbox_days: u64,
    /// Days that a notification is kept; 90.
    pub notification_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { common: Common::of(crate::NAME, 5001), streams: 1_000, inbox_days: 30, notification_days: 90 }
    }
}

service::settings!(Config);
