//! What clients do: they order, repeat, cancel, return, withdraw and ship, at times of their own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client::{ATTEMPTS, Book, Client, Response},
    fleet::{CUSTOMERS, PRODUCTS, STORES},
    random::Random,
    trace::Trace,
};

/// The clients of one run. Cheap to clone.
#[derive(Clone)]
pub struct Workload {
    /// How they call.
    pub client: Client,
    /// What they were told.
    pub book: Book,
    /// Where they are counted.
    pub trace: Trace,
    /// What determines what they do.
    pub seed: u64,
    /// How many orders they place.
    pub orders: u64,
}

/// One order and who follows it.
struct Life {
    workload: Workload,
    random: Random,
    number: u64,
}

impl Workload {
    /// Creates the customers, while nothing fails.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        for n in 0..CUSTOMERS {
            let body = json!({"id": format!("customer-{n}"), "name": format!("Customer {n}")});
            let answer = self.client.call("POST", "http://customer/api/customers", &[], Some(&body)).await;
            let status = answer.map(|answer| answer.status);
            anyhow::ensure!(status == Some(201), "customer-{n} is not created: {status:?}");
        }
        Ok(())
    }

    /// Places an order of this number and follows it.
    pub async fn live(self, number: u64, window: u64) {
        let mut random = Random::new(self.seed.wrapping_add(number), "order");
        tokio::time::sleep(Duration::from_millis(random.between(0, window))).await;
        Life { workload: self, random, number }.run().await;
    }
}

impl Life {
    async fn run(mut self) {
        if self.random.chance(0.2) {
            return self.run_impatiently().await;
        }
        let Some((url, body)) = self.request().await else { return };
        let id = self.place(&url, body).await;
        let Some(id) = id else { return };
        self.pause(200, 6_000).await;
        match self.random.between(0, 100) {
            0..15 => self.cancel(&id).await,
            15..22 => self.withdraw(&id).await,
            22..60 => self.ship(&id).await,
            60..65 => self.amend(&id).await,
            _ => {}
        }
    }

    /// Places an order and gives it up at any moment, also before it has arrived.
    async fn run_impatiently(mut self) {
        let (url, mut body) = if self.random.chance(0.3) { self.sale() } else { self.order() };
        let id = format!("order-{}-{}", self.workload.seed, self.number);
        body["id"] = id.clone().into();
        self.workload.book.note(self.number, |told| told.undoes = true);
        let mut other = Self {
            workload: self.workload.clone(),
            random: Random::new(self.random.next(), "second thoughts"),
            number: self.number,
        };
        let gives_up = async {
            other.pause(0, 400).await;
            match other.random.between(0, 3) {
                0 => other.withdraw(&id).await,
                1 => other.cancel(&id).await,
                _ => {
                    other.pause(0, 4_000).await;
                    other.cancel(&id).await;
                }
            }
        };
        self.workload.trace.add("client: impatient", 1);
        futures::join!(self.place(&url, body), gives_up);
    }

    async fn pause(&mut self, low: u64, high: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.between(low, high))).await;
    }

    fn lines(&mut self) -> Value {
        let lines: Vec<Value> = (0..self.random.between(1, 4))
            .map(|_| {
                let product = format!("product-{}", self.random.between(0, PRODUCTS));
                json!({"product_id": product, "quantity": self.random.between(1, 4)})
            })
            .collect();
        lines.into()
    }

    /// Where an order is placed, and how.
    async fn request(&mut self) -> Option<(String, Value)> {
        match self.random.between(0, 100) {
            0..15 => Some(self.sale()),
            15..25 => self.filled_cart().await,
            _ => Some(self.order()),
        }
    }

    /// A sale at a till.
    fn sale(&mut self) -> (String, Value) {
        let store = *self.random.pick(&STORES);
        let method = *self.random.pick(&["card", "cash"]);
        let body = json!({"lines": self.lines(), "payment": {"method": method}});
        (format!("http://order/api/stores/{store}/sales"), body)
    }

    /// The checkout of a customer's cart, to which something was added.
    async fn filled_cart(&mut self) -> Option<(String, Value)> {
        let cart = format!("http://order/api/carts/customer-{}", self.random.between(0, CUSTOMERS));
        for line in self.lines().as_array()? {
            let answer = self.insist("POST", &format!("{cart}/items"), &[], Some(line)).await?;
            if answer.status >= 400 {
                return None;
            }
        }
        self.workload.trace.add("client: cart filled", 1);
        Some((format!("{cart}/checkout"), json!({"payment": {"method": "card"}})))
    }

    fn order(&mut self) -> (String, Value) {
        let mut body = json!({"lines": self.lines()});
        if self.random.chance(0.8) {
            body["customer_id"] = format!("customer-{}", self.random.between(0, CUSTOMERS)).into();
        }
        if self.random.chance(0.4) {
            body["place_id"] = (*self.random.pick(&STORES)).into();
        }
        let method = *self.random.pick(&["card", "card", "card", "cash", "on_account"]);
        body["payment"] = json!({"method": method});
        if self.random.chance(0.1) {
            body["adjustments"] = json!([{"label": "voucher", "amount": -1.5}]);
        }
        ("http://order/api/orders".to_owned(), body)
    }

    /// Places the order, repeats it until its outcome is known, and sometimes once more; returns its id.
    async fn place(&mut self, url: &str, mut body: Value) -> Option<String> {
        let number = self.number;
        let cart = url.ends_with("/checkout");
        if cart {
            // Another client may have made the same order of the cart, and may undo it.
            self.workload.book.note(number, |told| told.undoes = true);
        }
        let keyed = cart || self.random.chance(0.75);
        if !cart && (!keyed || self.random.chance(0.4)) {
            body["id"] = format!("order-{}-{number}", self.workload.seed).into();
        }
        let mut headers = Vec::new();
        if keyed {
            headers.push(("idempotency-key", format!("key-{number}")));
        }
        if self.random.chance(0.1) {
            headers.push(("prefer", "respond-async".to_owned()));
        }
        let acknowledges = !cart && self.random.chance(0.06);
        if acknowledges {
            let by = commerce::Timestamp::now().plus(Duration::from_secs(20));
            headers.push(("acknowledge-by", by.to_string()));
            self.workload.book.note(number, |told| told.undoes = true);
        }
        let mut repeats = self.random.between(0, 3);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.workload.trace.add("client: repeated", 1);
                self.pause(50, 2_500).await;
            }
            let Some(answer) = self.workload.client.call("POST", url, &headers, Some(&body)).await else { continue };
            self.placed(&answer, keyed);
            if matches!(answer.status, 200 | 201 | 402 | 409 | 422) {
                if repeats == 0 {
                    break;
                }
                repeats -= 1;
            }
        }
        let told = self.workload.book.told(number);
        let id = told.id.or_else(|| body["id"].as_str().map(str::to_owned));
        if acknowledges && self.random.chance(0.5) {
            let url = format!("http://order/api/orders/{}/acknowledgement", id.as_deref()?);
            self.insist("POST", &url, &[], None).await;
        }
        id.filter(|_| told.confirmed)
    }

    fn placed(&self, answer: &Response, keyed: bool) {
        let (number, book) = (self.number, &self.workload.book);
        let kind = match answer.status {
            200 | 201 => "client: order confirmed",
            202 => "client: order in progress",
            402 => "client: payment refused",
            409 => "client: shortage or conflict",
            _ => "client: other answer",
        };
        self.workload.trace.add(kind, 1);
        if matches!(answer.status, 200..=202) {
            let id = answer.json["id"].as_str().unwrap_or_default().to_owned();
            let before = book.told(number).id.filter(|before| *before != id);
            if let Some(before) = before {
                book.contradiction(format!("order {number} has the ids {before} and {id}"));
            }
            book.note(number, |told| told.id = Some(id));
        }
        if answer.status == 201 && answer.json["state"] == "CONFIRMED" {
            book.note(number, |told| told.confirmed = true);
        }
        if keyed && matches!(answer.status, 201 | 402) {
            let this = (answer.status, answer.bytes.clone());
            match book.told(number).first {
                Some(first) if first != this => book.contradiction(format!(
                    "order {number} was answered with {} {:?}, then with {} {:?}",
                    first.0, first.1, this.0, this.1
                )),
                Some(_) => {}
                None => book.note(number, |told| told.first = Some(this)),
            }
        }
    }

    /// Calls until there is an answer.
    async fn insist(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Option<Response> {
        self.workload.client.insist(&mut self.random, method, url, headers, body).await
    }

    async fn cancel(&mut self, id: &str) {
        self.workload.book.note(self.number, |told| told.undoes = true);
        let url = format!("http://order/api/orders/{id}/cancel");
        let answer = self.insist("POST", &url, &[], None).await;
        if answer.is_some_and(|answer| answer.status == 200) {
            self.workload.trace.add("client: cancelled", 1);
            self.workload.book.note(self.number, |told| told.cancelled = true);
        }
    }

    async fn amend(&mut self, id: &str) {
        let url = format!("http://order/api/orders/{id}");
        let body = json!({"metadata": {"reference": self.number.to_string()}, "notes": "by simulation"});
        if self.insist("PATCH", &url, &[], Some(&body)).await.is_some_and(|answer| answer.status == 200) {
            self.workload.trace.add("client: amended", 1);
        }
    }

    async fn withdraw(&mut self, id: &str) {
        self.workload.book.note(self.number, |told| told.undoes = true);
        let url = format!("http://order/api/orders/{id}/withdrawal");
        if self.insist("POST", &url, &[], None).await.is_some_and(|answer| answer.status == 204) {
            self.workload.trace.add("client: withdrawn", 1);
        }
    }

    async fn ship(&mut self, id: &str) {
        let url = format!("http://order/api/orders/{id}/status");
        for status in ["processing", "shipped", "delivered"] {
            if self.random.chance(0.15) {
                break;
            }
            let body = json!({"status": status});
            if self.insist("PUT", &url, &[], Some(&body)).await.is_none() {
                return;
            }
            self.workload.trace.add("client: status changed", 1);
            self.pause(100, 1_500).await;
        }
        if self.random.chance(0.6) {
            self.give_back(id).await;
        }
        if self.random.chance(0.1) {
            self.withdraw(id).await;
        }
    }

    async fn give_back(&mut self, id: &str) {
        let url = format!("http://order/api/orders/{id}");
        let Some(order) = self.insist("GET", &url, &[], None).await else { return };
        let lines: Vec<Value> = order.json["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|_| self.random.chance(0.7))
            .map(|line| json!({"line_id": line["line_id"], "quantity": 1}))
            .collect();
        let mut body = json!({"lines": lines, "restock": self.random.chance(0.8)});
        let number = self.number;
        if self.random.chance(0.5) {
            body["id"] = format!("return-{}-{number}", self.workload.seed).into();
        }
        let headers = [("idempotency-key", format!("return-{number}"))];
        for _ in 0..2 {
            let answer = self.insist("POST", &format!("{url}/returns"), &headers, Some(&body)).await;
            let Some(answer) = answer.filter(|answer| matches!(answer.status, 200 | 201)) else { return };
            self.workload.trace.add("client: returned", 1);
            let made = answer.json["id"].as_str().unwrap_or_default().to_owned();
            self.workload.book.note(number, |told| {
                if !told.returns.contains(&made) {
                    told.returns.push(made);
                }
            });
        }
    }
}
