//! Sends a plan to the fleet. Ids are derived from the file, so that a repeated request changes nothing.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use commerce::Currency;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::plan::{Order, Plan, Product, Refused, Return};
use crate::remote::Remote;

/// Products or adjustments in one request.
const TOGETHER: usize = 50;
/// How long an order that is still running is asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the fleet took.
#[derive(Debug, Default)]
pub(crate) struct Fed {
    pub(crate) sold_lines: u64,
    pub(crate) returned_lines: u64,
    pub(crate) orders: usize,
    pub(crate) orders_new: usize,
    pub(crate) returns: usize,
    pub(crate) returns_new: usize,
    pub(crate) order_seconds: f64,
    pub(crate) refused: Vec<Refused>,
}

/// What became of an order or return.
enum Taken {
    New,
    Known,
    Refused(String),
}

pub(crate) async fn feed(
    remote: &Remote,
    plan: &Plan,
    currency: Currency,
    at_once: usize,
    quiet: bool,
) -> anyhow::Result<Fed> {
    let bar = |what: &'static str, length: usize| -> anyhow::Result<ProgressBar> {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(length as u64) };
        bar.set_length(length as u64);
        bar.set_style(ProgressStyle::with_template("{msg:10} {wide_bar} {pos}/{len} {per_sec}")?);
        bar.set_message(what);
        Ok(bar)
    };
    let products = bar("products", plan.products.len())?;
    stream::iter(plan.products.chunks(TOGETHER).map(Ok::<_, anyhow::Error>))
        .try_for_each_concurrent(4, |chunk| {
            let products = &products;
            async move {
                add_products(remote, chunk, currency).await?;
                stock_up(remote, chunk, &plan.fingerprint).await?;
                products.inc(chunk.len() as u64);
                Ok(())
            }
        })
        .await?;
    products.finish();
    let customers = bar("customers", plan.customers.len())?;
    stream::iter(plan.customers.iter().map(Ok::<_, anyhow::Error>))
        .try_for_each_concurrent(at_once, |(number, country)| {
            let customers = &customers;
            async move {
                add_customer(remote, number, country).await?;
                customers.inc(1);
                Ok(())
            }
        })
        .await?;
    customers.finish();
    let mut fed = Fed::default();
    let begun = Instant::now();
    send_orders(remote, plan, currency, at_once, &bar("orders", plan.orders.len())?, &mut fed).await?;
    fed.order_seconds = begun.elapsed().as_secs_f64();
    send_returns(remote, plan, &bar("returns", plan.returns.len())?, at_once, &mut fed).await?;
    Ok(fed)
}

async fn send_orders(
    remote: &Remote,
    plan: &Plan,
    currency: Currency,
    at_once: usize,
    bar: &ProgressBar,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let done = AtomicUsize::new(0);
    let results: Vec<(&Order, Taken)> = stream::iter(&plan.orders)
        .map(|order| {
            let done = &done;
            async move {
                let taken = place(remote, order, currency).await?;
                bar.set_position(done.fetch_add(1, Ordering::Relaxed) as u64 + 1);
                Ok::<_, anyhow::Error>((order, taken))
            }
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    bar.finish();
    for (order, taken) in results {
        match taken {
            Taken::Refused(reason) => fed.refuse(&order.file_lines, &order.id, &reason),
            taken => {
                fed.orders += 1;
                fed.orders_new += usize::from(matches!(taken, Taken::New));
                fed.sold_lines += order.file_lines.len() as u64;
            }
        }
    }
    Ok(())
}

async fn send_returns(
    remote: &Remote,
    plan: &Plan,
    bar: &ProgressBar,
    at_once: usize,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let results: Vec<(&Return, Taken)> = stream::iter(&plan.returns)
        .map(|wanted| async move {
            let taken = give_back(remote, wanted).await?;
            bar.inc(1);
            Ok::<_, anyhow::Error>((wanted, taken))
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    bar.finish();
    for (wanted, taken) in results {
        match taken {
            Taken::Refused(reason) => fed.refuse(&wanted.file_lines, &wanted.id, &reason),
            taken => {
                fed.returns += 1;
                fed.returns_new += usize::from(matches!(taken, Taken::New));
                fed.returned_lines += wanted.file_lines.len() as u64;
            }
        }
    }
    Ok(())
}

impl Fed {
    fn refuse(&mut self, lines: &[u64], invoice: &str, reason: &str) {
        self.refused.extend(lines.iter().map(|line| Refused {
            line: *line,
            invoice: invoice.to_owned(),
            code: String::new(),
            reason: format!("refused by the fleet: {reason}"),
        }));
    }
}

/// Adds the products that the catalogue does not hold yet.
async fn add_products(remote: &Remote, products: &[Product], currency: Currency) -> anyhow::Result<()> {
    let ids: Vec<&str> = products.iter().map(|product| product.id.as_str()).collect();
    let known = remote.graphql("query($ids:[ID!]!){productsByIds(ids:$ids){id currency}}", json!({"ids": ids})).await?;
    let known: HashSet<String> = known["productsByIds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|product| product["id"].as_str().map(ToOwned::to_owned))
        .collect();
    for product in products.iter().filter(|product| !known.contains(product.id.as_str())) {
        let body = json!({"id": product.id, "name": product.name, "price": product.price, "currency": currency, "category": "online-retail"});
        let (status, answer) = remote.post("/api/products", &body).await?;
        // 409: added by another request in between.
        if !status.is_success() && status != StatusCode::CONFLICT {
            bail!("product {} is refused: {status} {answer}", product.id);
        }
    }
    Ok(())
}

/// Opening stock that covers what the file sells.
async fn stock_up(remote: &Remote, products: &[Product], fingerprint: &str) -> anyhow::Result<()> {
    let adjustments: Vec<Value> = products
        .iter()
        .map(|product| {
            json!({
                "id": format!("opening-{fingerprint}-{}", product.id),
                "product_id": product.id,
                "place_id": "logistics",
                "delta": product.sold,
                "reason": "opening stock of an import",
            })
        })
        .collect();
    let (status, answer) = remote.post("/api/stock/adjustments/batch", &json!({"adjustments": adjustments})).await?;
    if !status.is_success() {
        bail!("opening stock is refused: {status} {answer}");
    }
    Ok(())
}

async fn add_customer(remote: &Remote, number: &str, country: &str) -> anyhow::Result<()> {
    let name = format!("Customer {number}, {country}");
    let body = json!({"id": customer_id(number), "name": name});
    let (status, answer) = remote.post("/api/customers", &body).await?;
    // 409: the customer was changed since an earlier import, which stands.
    if !status.is_success() && status != StatusCode::CONFLICT {
        bail!("customer {number} is refused: {status} {answer}");
    }
    Ok(())
}

fn customer_id(number: &str) -> String {
    format!("online-retail-{number}")
}

async fn place(remote: &Remote, order: &Order, currency: Currency) -> anyhow::Result<Taken> {
    let lines: Vec<Value> = order
        .lines
        .iter()
        .map(|line| json!({"product_id": line.product, "quantity": line.quantity, "unit_price": line.price}))
        .collect();
    let body = json!({
        "id": order.id,
        "customer_id": order.customer.as_deref().map(customer_id),
        "placed_at": order.placed_at,
        "currency": currency,
        "lines": lines,
    });
    let (status, answer) = remote.post("/api/orders", &body).await?;
    match status {
        StatusCode::CREATED => Ok(Taken::New),
        StatusCode::OK => Ok(Taken::Known),
        StatusCode::ACCEPTED => settled(remote, &order.id).await,
        status if status.is_client_error() => Ok(Taken::Refused(detail(&answer))),
        status => bail!("order {} was refused: {status} {answer}", order.id),
    }
}

/// Waits for an order that is still running.
async fn settled(remote: &Remote, id: &str) -> anyhow::Result<Taken> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let order = remote.get(&format!("/api/orders/{id}")).await?;
        match order["state"].as_str() {
            Some("CONFIRMED") => return Ok(Taken::New),
            Some("CANCELLED") => return Ok(Taken::Refused(order["reason"].as_str().unwrap_or("cancelled").to_owned())),
            _ => {}
        }
    }
    bail!("order {id} is still running; run the import again later")
}

async fn give_back(remote: &Remote, wanted: &Return) -> anyhow::Result<Taken> {
    let lines: Vec<Value> =
        wanted.lines.iter().map(|(line, pieces)| json!({"line_id": line.to_string(), "quantity": pieces})).collect();
    let body = json!({"id": wanted.id, "lines": lines, "reason": "cancelled invoice", "restock": true});
    let (status, answer) = remote.post(&format!("/api/orders/{}/returns", wanted.order_id), &body).await?;
    match status {
        StatusCode::CREATED => Ok(Taken::New),
        StatusCode::OK => Ok(Taken::Known),
        status if status.is_client_error() => Ok(Taken::Refused(detail(&answer))),
        status => Err(anyhow::anyhow!("{status} {answer}")).context(format!("return {} was refused", wanted.id)),
    }
}

fn detail(answer: &Value) -> String {
    answer["detail"].as_str().unwrap_or("no reason given").to_owned()
}
