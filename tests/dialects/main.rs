//! The dialects as the clients of the older fleets know them: on their ports, in their words. One test a dialect, since they
//! take fixed ports; run with `--test-threads 1`.

mod clash;
mod crm;
mod event_prospect;
mod ms_client;
mod multi_magasins;
mod quartet;

use anyhow::{Result, ensure};
use fleet_tests::Client;
use serde_json::Value;

/// A client of a dialect's port, without a token.
fn port(port: u16) -> Client {
    Client::new(&format!("http://127.0.0.1:{port}"), None)
}

/// Whether an object has exactly these members, whatever their values.
fn has_members(value: &Value, wanted: &[&str]) -> Result<()> {
    let mut found: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut wanted = wanted.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    ensure!(found == wanted, "members {found:?} instead of {wanted:?} in {value}");
    Ok(())
}
