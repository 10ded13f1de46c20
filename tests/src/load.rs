//! A steady load of orders. Each client repeats a request with the same idempotency key until it gets a response.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Client;

/// The results of a load's requests.
#[derive(Debug, Default)]
pub struct LoadResult {
    /// Idempotency keys, each with the status and body of its final response.
    pub responses: Vec<(String, u16, Value)>,
    /// The number of repeated requests.
    pub repeats: u64,
    /// The reasons for the repeats (status or error), with their counts.
    pub reasons: BTreeMap<String, u64>,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Result<LoadResult>>,
}

/// The n-th order of a client: most succeed, some exceed the payment limit, and some request a product with little stock.
pub fn order_body(n: usize) -> Value {
    match n % 12 {
        5 => json!({"lines": [{"product_id": "RARE", "quantity": 1}]}),
        9 => json!({"lines": [{"product_id": "PLENTY", "quantity": 90}]}),
        _ => {
            json!({"lines": [{"product_id": "PLENTY", "quantity": 1}, {"name": "wrapping", "quantity": 1, "unit_price": 1}]})
        }
    }
}

/// The setting that makes the payment of 90 `PLENTY` exceed the limit.
pub const SANDBOX_LIMIT: (&str, &str) = ("SOUK_PAYMENT_SANDBOX_LIMIT", "500");

impl Load {
    /// Adds the products that the load orders.
    pub async fn add_products(admin: &Client) -> Result<()> {
        admin.add_product("PLENTY", 9.5, 1_000_000).await?;
        admin.add_product("RARE", 4.0, 10).await
    }

    /// Starts clients. Each sends one order after the other with a pause between them.
    pub fn start(client: &Client, clients: usize, pause: Duration) -> Self {
        Self::start_named("load", client, clients, pause)
    }

    /// Starts clients whose idempotency keys begin with `name`.
    pub fn start_named(name: &str, client: &Client, clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            tasks.spawn(run_client(client.clone(), format!("{name}-{number}"), pause, Arc::clone(&stop)));
        }
        Self { stop, clients: tasks }
    }

    /// Stops the clients after their current order.
    pub async fn stop(mut self) -> Result<LoadResult> {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = LoadResult::default();
        while let Some(result) = self.clients.join_next().await {
            let result = result??;
            total.responses.extend(result.responses);
            total.repeats += result.repeats;
            for (reason, count) in result.reasons {
                *total.reasons.entry(reason).or_default() += count;
            }
        }
        Ok(total)
    }
}

async fn run_client(client: Client, name: String, pause: Duration, stop: Arc<AtomicBool>) -> Result<LoadResult> {
    let mut result = LoadResult::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{name}-{n}");
        loop {
            match client.post_once("/api/orders", &key, &order_body(n)).await {
                Ok(response) if response.status < 500 => {
                    ensure!(
                        [201, 202, 402, 409].contains(&response.status),
                        "{key}: {} {}",
                        response.status,
                        response.text()
                    );
                    result.responses.push((key, response.status, response.json()?));
                    break;
                }
                failed => {
                    let reason =
                        failed.map_or_else(|error| format!("{error:#}"), |response| response.status.to_string());
                    *result.reasons.entry(reason).or_default() += 1;
                    result.repeats += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
    Ok(result)
}
