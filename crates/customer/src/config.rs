//! What is special to this service's configuration.

use chassis::Secret;
use serde::{Deserialize, Serialize};
use service::Common;

/// The configuration. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Where the order service is, for cancelling the open orders of a customer who goes.
    pub order_url: String,
    /// Where the stock service is: it knows which places there are.
    pub stock_url: String,
    /// Password of the user `admin`, created at the start if it does not exist; no user is created if unset.
    pub admin_password: Secret,
    /// Life of a user's token, in seconds.
    pub token_ttl_seconds: u32,
    /// Days that a published event is kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Hours that an Idempotency-Key is remembered; 24.
    pub idempotency_hours: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::of(crate::NAME, 8085),
            order_url: "http://127.0.0.1:8087".into(),
            stock_url: "http://127.0.0.1:8088".into(),
            admin_password: Secret::default(),
            token_ttl_seconds: 3_600,
            outbox_days: 7,
            idempotency_hours: 24,
        }
    }
}

service::settings!(Config);
