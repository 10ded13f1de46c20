//! An HTTP client of a fleet, and the answers that it gets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// A client of a fleet, with a token or without.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Of which request, for messages.
    asked: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl Client {
    /// A client of the server at `base`.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().tcp_nodelay(true).build().unwrap_or_default();
        Self { http, base: base.to_owned(), token: token.map(ToOwned::to_owned) }
    }

    /// The same server for somebody else.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client of another address.
    pub fn at(&self, base: &str) -> Self {
        Self::new(base, Some(self.token()))
    }

    /// The token.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// A request to be filled in.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let request = request.timeout(Duration::from_secs(30)).build()?;
        let asked = format!("{} {}", request.method(), request.url().path());
        let answer = self.http.execute(request).await.with_context(|| asked.clone())?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.with_context(|| asked.clone())?.to_vec();
        Ok(Answer { asked, status, headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST of JSON with an Idempotency-Key.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// Registers a customer of that name; he comes back as a client, with his id.
    pub async fn register(&self, name: &str) -> Result<(Self, String)> {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse"});
        let made = self.post("/api/users/register", &body).await?.expect(201)?;
        let id = made["user"]["customer_id"].as_str().context("a customer's id")?.to_owned();
        Ok((self.with_token(made["token"].as_str().context("a token")?), id))
    }

    /// All rows of a list, page by page.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}{glue}limit=100{cursor}")).await?.expect(200)?;
            rows.append(page["data"].as_array_mut().context("data")?);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }

    /// How many rows a list has, as the service counts them.
    pub async fn total(&self, path: &str) -> Result<u64> {
        let page = self.get(&format!("{path}?limit=1&include_total=true")).await?.expect(200)?;
        page["total"].as_u64().with_context(|| format!("{path} has no total: {page}"))
    }

    /// What is on hand and reserved of a product in a place.
    pub async fn level(&self, product: &str, place: &str) -> Result<(i64, i64)> {
        let path = format!("/api/stock/levels?product_id={product}&place_id={place}");
        let page = self.get(&path).await?.expect(200)?;
        let level = &page["data"][0];
        Ok((level["on_hand"].as_i64().context("on_hand")?, level["reserved"].as_i64().context("reserved")?))
    }

    /// Puts a new product into the catalogue, with pieces in the logistics centre.
    pub async fn add_product(&self, id: &str, price: f64, pieces: i64) -> Result<()> {
        self.post("/api/products", &json!({"id": id, "name": id, "price": price})).await?.expect(201)?;
        let adjustment = json!({"product_id": id, "place_id": "logistics", "delta": pieces, "reason": "opening"});
        self.post("/api/stock/adjustments", &adjustment).await?.expect(201)?;
        Ok(())
    }
}

/// An answer of somebody who cannot answer now: 502, 503 or 504.
#[derive(Debug)]
pub struct Away(String);

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Away {}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: no JSON: {}", self.asked, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, if the status is that one.
    pub fn expect(&self, status: u16) -> Result<Value> {
        let wrong = || format!("{}: {} instead of {status}: {}", self.asked, self.status, self.text());
        if self.status != status && [502, 503, 504].contains(&self.status) {
            return Err(Away(wrong()).into());
        }
        ensure!(self.status == status, wrong());
        if self.body.is_empty() { Ok(Value::Null) } else { self.json() }
    }

    /// The body of a refusal, if it is a complete problem document of that status.
    pub fn problem(&self, status: u16) -> Result<Value> {
        let problem = self.expect(status)?;
        let kind = self.header("content-type");
        ensure!(kind.starts_with("application/problem+json"), "{}: {kind} is no problem: {}", self.asked, self.text());
        ensure!(problem["status"] == status, "{}: another status inside: {problem}", self.asked);
        for member in ["type", "title", "code", "detail", "instance", "trace_id"] {
            ensure!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{}: no {member}: {problem}",
                self.asked
            );
        }
        Ok(problem)
    }
}
