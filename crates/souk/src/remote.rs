//! A running fleet, as its clients see it: through the gateway.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::data;

/// How long an answer may take, and how long a fleet that does not answer is asked again.
const TIMEOUT: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);

/// Which fleet.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Data folder of the local fleet.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    pub data: PathBuf,
    /// URL of the gateway of another fleet; requires --token.
    #[arg(long, requires = "token")]
    pub gateway: Option<String>,
    /// Token of an admin; requires --gateway.
    #[arg(long, requires = "gateway")]
    pub token: Option<String>,
}

/// A fleet that answers.
#[derive(Debug, Clone)]
pub struct Remote {
    pub(crate) http: Client,
    pub(crate) gateway: String,
    pub(crate) token: String,
    /// The services' own addresses, if known.
    pub(crate) services: Value,
}

impl Remote {
    /// Finds the fleet and checks that it answers.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(TIMEOUT).tcp_nodelay(true).build()?;
        let (gateway, token, services) = match (&target.gateway, &target.token) {
            (Some(gateway), Some(token)) => (gateway.trim_end_matches('/').to_owned(), token.clone(), Value::Null),
            _ => {
                let running = data::running(&target.data)?;
                let token = crate::token::issue(&target.data, "admin").await?;
                (running.gateway, token, running.services)
            }
        };
        let remote = Self { http, gateway, token, services };
        let health = remote.http.get(format!("{}/health", remote.gateway)).send().await;
        match health {
            Ok(answer) if answer.status().is_success() => Ok(remote),
            Ok(answer) => bail!("{} returned {}; is it a Souk gateway?", remote.gateway, answer.status()),
            Err(error) => {
                Err(error).context(format!("no fleet responds at {}; start one with `souk up`", remote.gateway))
            }
        }
    }

    /// Posts JSON; asks again while the fleet does not answer, for repeats are harmless.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Gets JSON.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, answer) = self.send(Method::GET, path, None).await?;
        if !status.is_success() {
            bail!("GET {path}: {status} {answer}");
        }
        Ok(answer)
    }

    /// Asks the catalogue.
    pub(crate) async fn graphql(&self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let (status, mut answer) = self.post("/graphql", &json!({"query": query, "variables": variables})).await?;
        if !status.is_success() || answer["errors"].is_array() {
            bail!("the catalogue returned {status} {answer}");
        }
        Ok(answer["data"].take())
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(StatusCode, Value)> {
        let begun = Instant::now();
        let mut wait = Duration::from_millis(50);
        loop {
            let mut request =
                self.http.request(method.clone(), format!("{}{path}", self.gateway)).bearer_auth(&self.token);
            if let Some(body) = body {
                request = request.json(body);
            }
            let error = match request.send().await {
                Ok(answer) if !again(answer.status()) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    return Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))));
                }
                Ok(answer) => anyhow::anyhow!("{method} {path}: {}", answer.status()),
                Err(error) => anyhow::Error::new(error),
            };
            if begun.elapsed() > PATIENCE {
                return Err(error).context(
                    "the fleet does not respond; start it again and repeat the command, which applies nothing twice",
                );
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(2));
        }
    }
}

/// Answers after which the same request is worth sending again.
fn again(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    )
}
