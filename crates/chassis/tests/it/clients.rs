//! Clients that are slow, leave, or send what two programs may read in two ways. The clock is paused: it goes on by itself when all wait.

use std::time::Duration;

use axum::{Router, routing::get};
use chassis::{App, Callers, always_ready};
use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::{Running, problem, routes};

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.url.trim_start_matches("http://")).await.unwrap()
}

/// All that the service answers to these bytes until it closes the connection.
async fn answer(running: &Running, bytes: &[u8]) -> String {
    let mut stream = connect(running).await;
    stream.write_all(bytes).await.unwrap();
    let mut text = String::new();
    // A reset is an end, too.
    let _ = stream.read_to_string(&mut text).await;
    text
}

async fn metrics(running: &Running) -> String {
    running.get("/metrics").await.text().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_sends_no_whole_head_is_hung_up_on() {
    let running = Running::start().await;
    for begun in ["", "PRI * HT", "P", "GET /health HTTP/1.1\r\nhost: a\r\nx-a"] {
        let since = Instant::now();
        assert!(!answer(&running, begun.as_bytes()).await.contains("200"), "{begun:?}");
        let waited = since.elapsed();
        assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(20), "{begun:?}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_the_clients_fault() {
    let running = Running::start().await;
    let head = "POST /carts HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n";
    let since = Instant::now();
    let mut stream = connect(&running).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = vec![0; 4096];
    let mut read = 0;
    // One byte a second keeps no connection.
    while read == 0 && since.elapsed() < Duration::from_secs(60) {
        let _ = stream.write_all(b" ").await;
        tokio::select! {
            count = stream.read(&mut text) => read = count.unwrap_or_default(),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    let text = String::from_utf8_lossy(&text[..read]).into_owned();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("request_timeout"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_refused_is_not_waited_for_without_an_end() {
    let running = Running::start().await;
    // Too large, or of another kind: the rest is read so that the client gets the answer, if it comes.
    for (kind, length, status) in [("application/json", 9_000_000, 413), ("text/plain", 100_000, 415)] {
        let head =
            format!("POST /carts HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        let since = Instant::now();
        let text = answer(&running, head.as_bytes()).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    }
}

#[tokio::test]
async fn a_body_at_an_ordinary_pace_takes_as_long_as_it_takes() {
    let running = Running::start().await;
    let lines = r#"{"lines":[{"name":"a","quantity":1}]}"#;
    let pieces = futures::stream::iter(lines.as_bytes().chunks(8)).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, std::io::Error>(piece)
    });
    assert_eq!(running.post("application/json", reqwest::Body::wrap_stream(pieces)).await.status(), 200);
}

#[tokio::test]
async fn large_bodies_take_a_bounded_memory_and_keep_no_small_one_waiting() {
    let running = Running::start().await;
    let length = 2_000_000;
    let head = format!(
        "POST /carts HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut stream = connect(&running).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length - 1]).await.unwrap();
        kept.push(stream);
    }
    let large = || running.post("application/json", format!(r#"{{"lines":[]{}}}"#, " ".repeat(1_900_000)));
    // The others are taken in before or after it.
    let begun = Instant::now();
    let refused = loop {
        let answer = large().await;
        if answer.status() != 200 || begun.elapsed() > Duration::from_secs(5) {
            break answer;
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused, 503).await["code"], "body.busy");
    assert_eq!(running.post("application/json", r#"{"lines":[]}"#).await.status(), 200);
    drop(kept);
    while large().await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "what has gone has given its share back");
    }
}

#[tokio::test]
async fn a_header_that_could_be_read_in_two_ways_is_refused() {
    let running = Running::start().await;
    for twice in ["authorization: Bearer", "idempotency-key:", "host:", "content-type: text/"] {
        let request = format!("GET /health HTTP/1.1\r\nhost: h\r\n{twice} a\r\n{twice} b\r\nconnection: close\r\n\r\n");
        let text = answer(&running, request.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400") && text.contains("only once"), "{twice}: {text}");
    }
    let without = answer(&running, b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(without.starts_with("HTTP/1.1 400") && without.contains("Host is missing"), "{without}");
    let many: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
    let request = format!("GET /health HTTP/1.1\r\nhost: h\r\n{many}connection: close\r\n\r\n");
    let text = answer(&running, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 400") && text.contains("at most 100"), "{text}");
}

#[tokio::test]
async fn invented_methods_share_one_series() {
    let running = Running::start().await;
    for number in 0..50 {
        let method = http::Method::from_bytes(format!("X{number}").as_bytes()).unwrap();
        problem(running.client.request(method, format!("{}/carts", running.url)).send().await.unwrap(), 405).await;
    }
    let text = metrics(&running).await;
    assert!(text.contains(r#"http_requests_total{method="_OTHER",route="/carts",status="405"} 50"#), "{text}");
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_counted_as_such() {
    let slow = get(|| tokio::time::sleep(Duration::from_secs(600)));
    let http = Router::new().route("/slow", slow);
    let running = Running::start_with(App { http, grpc: None, ready: always_ready(), callers: Callers::Anybody }).await;
    let request = running.client.get(format!("{}/slow", running.url)).timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    let since = Instant::now();
    while !metrics(&running).await.contains(r#"method="GET",route="/slow",status="499"} 1"#) {
        assert!(since.elapsed() < Duration::from_secs(5), "{}", metrics(&running).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_deadline_of_a_stranger_is_no_failure_of_the_service() {
    for (callers, status) in [(Callers::Anybody, 408), (Callers::Services, 504)] {
        let slow = get(|| tokio::time::sleep(Duration::from_secs(600)));
        let http = routes().route("/slow", slow);
        let running = Running::start_with(App { http, grpc: None, ready: always_ready(), callers }).await;
        let request = running.client.get(format!("{}/slow", running.url)).header("x-timeout-ms", "0");
        problem(request.send().await.unwrap(), status).await;
    }
}
