//! The same POST again and again by clients at once, each as soon as it has its answer:
//!
//! `SOUK_TOKEN=ADMINS burst URL CLIENTS SECONDS BODY WORD`
//!
//! Without `SOUK_TOKEN` nobody asks. An answer counts if it is a success and WORD stands in it. Prints one line of JSON: `done`,
//! `failed`, `per_second`, and `p50_ms`, `p99_ms` of those that counted.

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
struct Seen {
    milliseconds: Vec<f64>,
    failed: usize,
}

impl Burst {
    async fn client(self: Arc<Self>) -> Seen {
        let mut seen = Seen::default();
        while Instant::now() < self.deadline {
            let begun = Instant::now();
            match self.once().await {
                Ok(true) => seen.milliseconds.push(begun.elapsed().as_secs_f64() * 1_000.0),
                Ok(false) | Err(_) => seen.failed += 1,
            }
        }
        seen
    }

    async fn once(&self) -> Result<bool> {
        let request = self.http.post(&self.url).header("content-type", "application/json").body(self.body.clone());
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await?;
        let succeeded = answer.status().is_success();
        Ok(answer.text().await?.contains(&self.word) && succeeded)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, clients, seconds, body, word] = arguments.as_slice() else {
        bail!("usage: SOUK_TOKEN=ADMINS burst URL CLIENTS SECONDS BODY WORD");
    };
    let begun = Instant::now();
    let burst = Arc::new(Burst {
        http: reqwest::Client::builder().tcp_nodelay(true).build()?,
        url: url.clone(),
        token: env::var("SOUK_TOKEN").ok().map(|token| token.trim().to_owned()),
        body: body.clone(),
        word: word.clone(),
        deadline: begun + Duration::from_secs(seconds.parse()?),
    });
    let mut running = JoinSet::new();
    for _ in 0..clients.parse::<usize>()? {
        running.spawn(Arc::clone(&burst).client());
    }
    let (mut milliseconds, mut failed) = (Vec::new(), 0);
    while let Some(seen) = running.join_next().await {
        let seen = seen?;
        milliseconds.extend(seen.milliseconds);
        failed += seen.failed;
    }
    let took = begun.elapsed().as_secs_f64();
    milliseconds.sort_by(f64::total_cmp);
    let done = milliseconds.len();
    let at = |percent: usize| milliseconds.get((done * percent / 100).min(done.saturating_sub(1)));
    let told = serde_json::json!({
        "done": done, "failed": failed, "per_second": done as f64 / took, "p50_ms": at(50), "p99_ms": at(99),
    });
    writeln!(io::stdout(), "{told}")?;
    Ok(())
}
