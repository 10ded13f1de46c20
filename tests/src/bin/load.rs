//! Puts a steady load of orders on a fleet that runs elsewhere, for example in containers:
//!
//! `SOUK_TOKEN=ADMIN_TOKEN load GATEWAY CLIENTS`
//!
//! The load runs until SIGTERM, so that the caller can do something to the fleet meanwhile. A request without a response is
//! repeated with the same idempotency key until there is one. At the end the program prints one line of JSON: `orders`, the number
//! of responses by status, `repeats`, the number of repeated requests, and `reasons`, why they failed.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use fleet_tests::{Client, Load};
use tokio::signal::unix::{SignalKind, signal};

const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, clients] = arguments.as_slice() else {
        bail!("usage: SOUK_TOKEN=ADMIN_TOKEN load GATEWAY CLIENTS");
    };
    // Installed first, so that an early signal also ends with a summary.
    let mut terminate = signal(SignalKind::terminate())?;
    let token = env::var("SOUK_TOKEN").context("SOUK_TOKEN is the token of an admin; `souk token admin` prints one")?;
    let admin = Client::new(gateway, Some(token.trim()));
    if admin.get("/api/products/PLENTY").await?.status != 200 {
        Load::add_products(&admin).await?;
    }
    let load = Load::start_named(&uuid::Uuid::new_v4().to_string(), &admin, clients.parse()?, PAUSE);
    terminate.recv().await;
    let result = load.stop().await?;
    let mut orders = BTreeMap::<u16, usize>::new();
    for (_, status, _) in &result.responses {
        *orders.entry(*status).or_default() += 1;
    }
    let summary = serde_json::json!({"orders": orders, "repeats": result.repeats, "reasons": result.reasons});
    writeln!(io::stdout(), "{summary}")?;
    Ok(())
}
