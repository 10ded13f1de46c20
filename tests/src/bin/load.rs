//! A steady load of orders on a fleet that runs elsewhere, in containers say:
//!
//! `SOUK_TOKEN=ADMINS load GATEWAY CLIENTS`
//!
//! It goes on until it is asked to stop (SIGTERM): how long is known to whoever does something to the fleet meanwhile. Whoever
//! gets no answer asks again under the same key, until there is one. Prints one line of JSON at the end: `orders` that were
//! answered, by status, and `repeats`, the requests that failed and had to be sent again, with the `reasons`.

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
        bail!("usage: SOUK_TOKEN=ADMINS load GATEWAY CLIENTS");
    };
    // From the beginning on, so that one who is asked to stop early still tells.
    let mut asked_to_stop = signal(SignalKind::terminate())?;
    let token = env::var("SOUK_TOKEN").context("SOUK_TOKEN is the token of an admin; `souk token admin` prints one")?;
    let admin = Client::new(gateway, Some(token.trim()));
    if admin.get("/api/products/PLENTY").await?.status != 200 {
        Load::goods(&admin).await?;
    }
    let load = Load::named(&uuid::Uuid::new_v4().to_string(), &admin, clients.parse()?, PAUSE);
    asked_to_stop.recv().await;
    let heard = load.stop().await?;
    let mut orders = BTreeMap::<u16, usize>::new();
    for (_, status, _) in &heard.answers {
        *orders.entry(*status).or_default() += 1;
    }
    let told = serde_json::json!({"orders": orders, "repeats": heard.repeats, "reasons": heard.reasons});
    writeln!(io::stdout(), "{told}")?;
    Ok(())
}
