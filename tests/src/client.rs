//! An HTTP client of a fleet, and its responses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// A client of a fleet, with or without a token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// A response with its whole body.
#[derive(Debug, Clone)]
pub struct Response {
    /// Method and path of the request, for error messages.
    request: String,
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

    /// A client of the same server with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// A client of another server with the same token.
    pub fn at(&self, base: &str) -> Self {
        Self::new(base, Some(self.token()))
    }

    /// The token.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// Starts building a request with the client's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole response.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let request = request.timeout(Duration::from_secs(30)).build()?;
        let title = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await.with_context(|| title.clone())?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.with_context(|| title.clone())?.to_vec();
        Ok(Response { request: title, status, headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send(self.request(Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Response> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Response> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST of JSON with an Idempotency-Key.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Result<Response> {
        self.send(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Response> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// Registers a customer with this name; returns a client with the customer's token, and the customer's id.
    pub async fn register(&self, name: &str) -> Result<(Self, String)> {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse"});
        let made = self.post("/api/users/register", &body).await?.expect(201)?;
        let id = made["user"]["customer_id"].as_str().context("a customer's id")?.to_owned();
        Ok((self.with_token(made["token"].as_str().context("a token")?), id))
    }

    /// Reads all rows of a list, page by page.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}{separator}limit=100{cursor}")).await?.expect(200)?;
            rows.append(page["data"].as_array_mut().context("data")?);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }

    /// The `total` that the service returns for a list.
    pub async fn total(&self, path: &str) -> Result<u64> {
        let page = self.get(&format!("{path}?limit=1&include_total=true")).await?.expect(200)?;
        page["total"].as_u64().with_context(|| format!("{path} has no total: {page}"))
    }

    /// The quantities of a product on hand and reserved at a place.
    pub async fn level(&self, product: &str, place: &str) -> Result<(i64, i64)> {
        let path = format!("/api/stock/levels?product_id={product}&place_id={place}");
        let page = self.get(&path).await?.expect(200)?;
        let level = &page["data"][0];
        Ok((level["on_hand"].as_i64().context("on_hand")?, level["reserved"].as_i64().context("reserved")?))
    }

    /// Adds a product to the catalogue, with stock in the logistics centre.
    pub async fn add_product(&self, id: &str, price: f64, quantity: i64) -> Result<()> {
        self.post("/api/products", &json!({"id": id, "name": id, "price": price})).await?.expect(201)?;
        let adjustment = json!({"product_id": id, "place_id": "logistics", "delta": quantity, "reason": "opening"});
        self.post("/api/stock/adjustments", &adjustment).await?.expect(201)?;
        Ok(())
    }
}

/// A response that says that a service is unavailable: status 502, 503 or 504.
#[derive(Debug)]
pub struct Unavailable(String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: not JSON: {}", self.request, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON, if the status is `status`; an [`Unavailable`] error if it is 502, 503 or 504 instead.
    pub fn expect(&self, status: u16) -> Result<Value> {
        let message = || format!("{}: {} instead of {status}: {}", self.request, self.status, self.text());
        if self.status != status && [502, 503, 504].contains(&self.status) {
            return Err(Unavailable(message()).into());
        }
        ensure!(self.status == status, message());
        if self.body.is_empty() { Ok(Value::Null) } else { self.json() }
    }

    /// The body of an error response, if it is a complete problem document with this status.
    pub fn problem(&self, status: u16) -> Result<Value> {
        let problem = self.expect(status)?;
        let kind = self.header("content-type");
        ensure!(
            kind.starts_with("application/problem+json"),
            "{}: {kind} is not a problem document: {}",
            self.request,
            self.text()
        );
        ensure!(problem["status"] == status, "{}: the status in the body differs: {problem}", self.request);
        for member in ["type", "title", "code", "detail", "instance", "trace_id"] {
            ensure!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{}: no {member}: {problem}",
                self.request
            );
        }
        Ok(problem)
    }
}
