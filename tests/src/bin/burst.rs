//! Sends the same POST repeatedly from concurrent clients; each sends the next request as soon as it has a response:
//!
//! `SOUK_TOKEN=ADMIN_TOKEN burst URL CLIENTS SECONDS BODY WORD`
//!
//! Without `SOUK_TOKEN` the requests have no token. A response counts as done if it is a success and its body contains WORD.
//! Prints one line of JSON: `done`, `failed`, `per_second`, and `p50_ms`, `p99_ms` of the requests that are done.

use std::{
    env,
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

struct Burst {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    body: String,
    word: String,
    deadline: Instant,
}

#[derive(Default)]
struct Results {
    milliseconds: Vec<f64>,
    failed: usize,
}

impl Burst {
    async fn run_client(self: Arc<Self>) -> Results {
        let mut results = Results::default();
        while Instant::now() < self.deadline {
            let started = Instant::now();
            match self.send().await {
                Ok(true) => results.milliseconds.push(started.elapsed().as_secs_f64() * 1_000.0),
                Ok(false) | Err(_) => results.failed += 1,
            }
        }
        results
    }

    async fn send(&self) -> Result<bool> {
        let request = self.http.post(&self.url).header("content-type", "application/json").body(self.body.clone());
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await?;
        let succeeded = response.status().is_success();
        Ok(response.text().await?.contains(&self.word) && succeeded)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, clients, seconds, body, word] = arguments.as_slice() else {
        bail!("usage: SOUK_TOKEN=ADMIN_TOKEN burst URL CLIENTS SECONDS BODY WORD");
    };
    let started = Instant::now();
    let burst = Arc::new(Burst {
        http: reqwest::Client::builder().tcp_nodelay(true).build()?,
        url: url.clone(),
        token: env::var("SOUK_TOKEN").ok().map(|token| token.trim().to_owned()),
        body: body.clone(),
        word: word.clone(),
        deadline: started + Duration::from_secs(seconds.parse()?),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..clients.parse::<usize>()? {
        tasks.spawn(Arc::clone(&burst).run_client());
    }
    let (mut milliseconds, mut failed) = (Vec::new(), 0);
    while let Some(results) = tasks.join_next().await {
        let results = results?;
        milliseconds.extend(results.milliseconds);
        failed += results.failed;
    }
    let elapsed = started.elapsed().as_secs_f64();
    milliseconds.sort_by(f64::total_cmp);
    let done = milliseconds.len();
    let percentile = |percent: usize| milliseconds.get((done * percent / 100).min(done.saturating_sub(1)));
    let summary = serde_json::json!({
        "done": done, "failed": failed, "per_second": done as f64 / elapsed, "p50_ms": percentile(50), "p99_ms": percentile(99),
    });
    writeln!(io::stdout(), "{summary}")?;
    Ok(())
}
