//! What honest customers see while somebody attacks.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet_tests::{Client, Fleet, order_body};
use futures::future::try_join_all;

/// Customers who order at the same time, and how long each pauses.
const CUSTOMERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// What they saw.
pub(crate) struct Seen {
    pub(crate) orders: usize,
    /// Within this 99 of 100 orders were answered.
    pub(crate) order_p99: Duration,
    /// The slowest answer of `/health`, each on a connection of its own, as a probe makes them.
    pub(crate) health_worst: Duration,
    /// The most memory that the fleet took, in MiB.
    pub(crate) memory: u64,
}

/// Orders and probes for so long.
pub(crate) async fn shop(fleet: &Fleet, lasts: Duration) -> Result<Seen> {
    let until = Instant::now() + lasts;
    let admin = fleet.client("admin");
    let customers = try_join_all((0..CUSTOMERS).map(|_| order(admin.clone(), until)));
    let (orders, (health_worst, memory)) = tokio::try_join!(customers, probe(fleet, until))?;
    let mut took: Vec<Duration> = orders.into_iter().flatten().collect();
    took.sort_unstable();
    let order_p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(lasts);
    Ok(Seen { orders: took.len(), order_p99, health_worst, memory })
}

async fn order(client: Client, until: Instant) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let answer = client.post("/api/orders", &order_body(0)).await?;
        ensure!(answer.status == 201, "{}", answer.text());
        took.push(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(took)
}

async fn probe(fleet: &Fleet, until: Instant) -> Result<(Duration, u64)> {
    let (mut worst, mut memory) = (Duration::ZERO, 0);
    while Instant::now() < until {
        let begun = Instant::now();
        // A connection of its own.
        let client = Client::new(fleet.gateway(), None);
        ensure!(client.get("/health").await?.status == 200);
        worst = worst.max(begun.elapsed());
        memory = memory.max(fleet.memory()?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok((worst, memory))
}
