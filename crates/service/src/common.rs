//! Settings that all services with a store have in common.

use std::net::{IpAddr, Ipv4Addr};

use auth::AuthConfig;
use commerce::page::CursorKey;
use serde::{Deserialize, Serialize};

/// Settings that all services with a store have in common; flattened into each `Config`, so that each field is
/// `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Common {
    /// Address to listen on; 127.0.0.1.
    pub bind: IpAddr,
    /// HTTP port; `PORT` in the environment, too.
    pub port: u16,
    /// URL of the service's own store; `DATABASE_URL` in the environment, too.
    pub database_url: String,
    /// URL of the event bus; `embedded:souk-data/bus.db`.
    pub bus_url: String,
    /// Which tokens are accepted.
    #[serde(flatten)]
    pub auth: AuthConfig,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            database_url: String::new(),
            bus_url: "embedded:souk-data/bus.db".into(),
            auth: AuthConfig::default(),
        }
    }
}

impl Common {
    /// The defaults of a service: its port, and a SQLite file of its name in `souk-data`.
    pub fn of(service: &str, port: u16) -> Self {
        Self { port, database_url: format!("sqlite:souk-data/{service}.db"), ..Self::default() }
    }

    /// The key that signs the cursors of one list.
    pub fn cursor_key(&self, list: &str) -> CursorKey {
        CursorKey::derive(self.auth.internal_key.expose().as_bytes(), list)
    }
}
