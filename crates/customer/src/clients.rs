//! What this service asks of others: the order service is to cancel the open orders of a customer who goes; the
//! stock service says which places there are.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};
use chassis::{FieldError, Metrics, Peer};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;

/// A question takes no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Cancelling an order goes on to the stock and payment services.
const CANCELLING: Duration = Duration::from_secs(5);
const OPEN: [&str; 3] = ["pending", "confirmed", "processing"];
/// Orders taken per round.
const PAGE: &str = "100";
/// Rounds after which something is wrong: nobody has so many open orders.
const ROUNDS: usize = 100;

/// The order service.
#[derive(Debug)]
pub(crate) struct Orders {
    url: String,
    who: Peer,
    // Made when first needed: the start must not wait for root certificates.
    client: OnceLock<Option<Client>>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    id: String,
}

impl Orders {
    pub(crate) fn new(url: &str, metrics: &Metrics) -> Self {
        let who = Peer::new("order", CANCELLING, metrics);
        Self { url: url.trim_end_matches('/').to_owned(), who, client: OnceLock::new() }
    }

    /// Cancels all open orders of a customer, in the name of the admin who deletes him: the order service
    /// judges by his own token whether he may.
    pub(crate) async fn cancel_open(&self, customer_id: &str, authorization: &str) -> Result<(), Error> {
        for status in OPEN {
            for round in 0.. {
                let open = self.open(customer_id, status, authorization).await.map_err(Error::OrdersAway)?;
                if open.is_empty() {
                    break;
                }
                if round == ROUNDS {
                    return Err(Error::OrdersAway(anyhow::anyhow!("orders stay open although they were cancelled")));
                }
                for order in open {
                    self.cancel(&order.id, authorization).await?;
                }
            }
        }
        Ok(())
    }

    async fn open(&self, customer_id: &str, status: &str, authorization: &str) -> anyhow::Result<Vec<Order>> {
        let request = client(&self.client)?.get(format!("{}/api/orders", self.url));
        let query = [("customer_id", customer_id), ("status", status), ("limit", PAGE)];
        let answer = self.who.send(request.query(&query).header("authorization", authorization)).await?;
        Ok(answer.error_for_status()?.json::<Page>().await?.data)
    }

    async fn cancel(&self, order_id: &str, authorization: &str) -> Result<(), Error> {
        let client = client(&self.client).map_err(Error::OrdersAway)?;
        let request = client.post(format!("{}/api/orders/{order_id}/cancel", self.url));
        let request = request.header("authorization", authorization).json(&json!({"reason": "customer deleted"}));
        let answer = self.who.send(request).await.map_err(|err| Error::OrdersAway(err.into()))?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            StatusCode::CONFLICT => {
                let reason = chassis::refusal(answer).await.unwrap_or_else(|| "it is no longer open".to_owned());
                Err(Error::OrderStays { order_id: order_id.to_owned(), reason })
            }
            status => Err(Error::OrdersAway(anyhow::anyhow!("cancel answered {status}"))),
        }
    }
}

/// Places asked about at once.
const PLACES_AT_ONCE: usize = 10;
/// What the stock service says of a place that it does not know.
const NO_PLACE: &str = "There is no such place.";

/// The stock service.
#[derive(Debug)]
pub(crate) struct Places {
    url: String,
    who: Peer,
    client: OnceLock<Option<Client>>,
}

impl Places {
    pub(crate) fn new(url: &str, metrics: &Metrics) -> Self {
        let who = Peer::new("stock", TIMEOUT, metrics);
        Self { url: url.trim_end_matches('/').to_owned(), who, client: OnceLock::new() }
    }

    /// Refuses stores that do not exist. They must be ids by their letters.
    pub(crate) async fn demand(&self, stores: &[String]) -> Result<(), Error> {
        let there = stream::iter(stores.to_owned()).map(|id| self.exists(id)).buffered(PLACES_AT_ONCE);
        let there: Vec<bool> = there.try_collect().await.map_err(Error::PlacesAway)?;
        let unknown: Vec<FieldError> = stores
            .iter()
            .zip(there)
            .enumerate()
            .filter(|(_, (_, there))| !there)
            .map(|(n, (id, _))| FieldError::new(format!("stores[{n}]"), "exists", format!("there is no place {id}")))
            .collect();
        if unknown.is_empty() { Ok(()) } else { Err(Error::Invalid(unknown)) }
    }

    async fn exists(&self, id: String) -> anyhow::Result<bool> {
        let client = client(&self.client)?;
        let answer = self.who.send(client.get(format!("{}/api/places/{id}", self.url))).await?;
        if answer.status() != StatusCode::NOT_FOUND {
            answer.error_for_status()?;
            return Ok(true);
        }
        // Anybody's 404 is about a path; only the stock service's own word is about the place.
        match chassis::refusal(answer).await {
            Some(said) if said == NO_PLACE => Ok(false),
            _ => bail!("404, but not the stock service's"),
        }
    }
}

fn client(made: &OnceLock<Option<Client>>) -> anyhow::Result<&Client> {
    let client = made.get_or_init(|| Client::builder().timeout(CANCELLING).no_proxy().build().ok());
    client.as_ref().context("no HTTP client")
}
