//! The settings of this service.

use commerce::Currency;
use serde::{Deserialize, Serialize};
use service::Common;

/// The configuration. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// The currency of a price that is given without one.
    pub currency: Currency,
    /// Days that a published event is kept in the outbox, for the audit; 7.
    pub outbox_days: u64,
    /// Hours that an Idempotency-Key is remembered; 24.
    pub idempotency_hours: u64,
    /// Whether clients may ask for the schema (`__schema`, `__type`); true. Off in production.
    pub graphql_introspection: bool,
    /// Whether a browser gets GraphiQL, a page to try queries on; true. Off in production.
    pub graphiql: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::of(crate::NAME, 8086),
            currency: Currency::EUR,
            outbox_days: 7,
            idempotency_hours: 24,
            graphql_introspection: true,
            graphiql: true,
        }
    }
}

service::settings!(Config);
