//! A steady load of orders by clients who do not give up: each asks again under its key until it has an answer.

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

/// What became of the requests of a load.
#[derive(Debug, Default)]
pub struct Heard {
    /// Keys, each with its last answer's status and body.
    pub answers: Vec<(String, u16, Value)>,
    /// Requests that had to be sent again.
    pub repeats: u64,
    /// Why: the status, or the error, and how often.
    pub reasons: BTreeMap<String, u64>,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Result<Heard>>,
}

/// What the n-th order of a client is: mostly plain, now and then too dear, or of what there is little of.
pub fn body(n: usize) -> Value {
    match n % 12 {
        5 => json!({"lines": [{"product_id": "RARE", "quantity": 1}]}),
        9 => json!({"lines": [{"product_id": "PLENTY", "quantity": 90}]}),
        _ => {
            json!({"lines": [{"product_id": "PLENTY", "quantity": 1}, {"name": "wrapping", "quantity": 1, "unit_price": 1}]})
        }
    }
}

/// The setting by which 90 of `PLENTY` are too dear.
pub const LIMIT: (&str, &str) = ("SOUK_PAYMENT_SANDBOX_LIMIT", "500");

impl Load {
    /// Puts the goods on the shelf.
    pub async fn goods(admin: &Client) -> Result<()> {
        admin.add_product("PLENTY", 9.5, 1_000_000).await?;
        admin.add_product("RARE", 4.0, 10).await
    }

    /// Starts so many clients, each an order after the other with a pause.
    pub fn start(client: &Client, clients: usize, pause: Duration) -> Self {
        Self::named("load", client, clients, pause)
    }

    /// The same with keys that no other load has.
    pub fn named(name: &str, client: &Client, clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut set = JoinSet::new();
        for number in 0..clients {
            set.spawn(one(client.clone(), format!("{name}-{number}"), pause, Arc::clone(&stop)));
        }
        Self { stop, clients: set }
    }

    /// Lets every client finish the order that it is at.
    pub async fn stop(mut self) -> Result<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Heard::default();
        while let Some(heard) = self.clients.join_next().await {
            let heard = heard??;
            all.answers.extend(heard.answers);
            all.repeats += heard.repeats;
            for (reason, times) in heard.reasons {
                *all.reasons.entry(reason).or_default() += times;
            }
        }
        Ok(all)
    }
}

async fn one(client: Client, name: String, pause: Duration, stop: Arc<AtomicBool>) -> Result<Heard> {
    let mut heard = Heard::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{name}-{n}");
        loop {
            match client.post_once("/api/orders", &key, &body(n)).await {
                Ok(answer) if answer.status < 500 => {
                    ensure!(
                        [201, 202, 402, 409].contains(&answer.status),
                        "{key}: {} {}",
                        answer.status,
                        answer.text()
                    );
                    heard.answers.push((key, answer.status, answer.json()?));
                    break;
                }
                failed => {
                    let reason = failed.map_or_else(|error| format!("{error:#}"), |answer| answer.status.to_string());
                    *heard.reasons.entry(reason).or_default() += 1;
                    heard.repeats += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
    Ok(heard)
}
