//! The APIs of the older fleets (dialects), on the ports that their clients use. There is one test per dialect, since the ports are
//! fixed; run with `--test-threads 1`.

mod clash;
mod crm;
mod event_prospect;
mod ms_client;
mod multi_magasins;
mod quartet;
mod withdrawals;

use anyhow::{Result, ensure};
use fleet_tests::Client;
use serde_json::Value;

/// A client of a dialect's port, without a token.
fn port(port: u16) -> Client {
    Client::new(&format!("http://127.0.0.1:{port}"), None)
}

/// Checks that an object has exactly these members, with any values.
fn has_members(value: &Value, expected: &[&str]) -> Result<()> {
    let mut found: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut expected = expected.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    ensure!(found == expected, "members {found:?} instead of {expected:?} in {value}");
    Ok(())
}
