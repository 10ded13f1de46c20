//! What this service asks of others: the order service is to cancel the open orders of a customer who goes; the
//! stock service says which places there are.

use std::time::Duration;

use chassis::{Context, FieldError, Refusal};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use service::RestPeer;

use crate::error::Error;

/// Time for one call: no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time to cancel an order, which calls the stock and payment services.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
const OPEN: [&str; 3] = ["pending", "confirmed", "processing"];
/// Orders taken per round.
const PAGE: &str = "100";
/// Rounds after which something is wrong: no customer has so many open orders.
const ROUNDS: usize = 100;

/// The order service.
#[derive(Debug)]
pub(crate) struct Orders(RestPeer);

#[derive(Deserialize)]
struct Page {
    data: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    id: String,
}

impl Orders {
    pub(crate) fn new(url: &str, ctx: &Context) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("order", url, CANCEL_TIMEOUT, ctx)?))
    }

    /// Cancels all open orders of a customer with the token of the admin who deletes it: the order service checks that token.
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
        let query = [("customer_id", customer_id), ("status", status), ("limit", PAGE)];
        let request = self.0.get("/api/orders").query(&query).header("authorization", authorization);
        Ok(self.0.json::<Page>(request).await?.data)
    }

    async fn cancel(&self, order_id: &str, authorization: &str) -> Result<(), Error> {
        let request = self.0.post(&format!("/api/orders/{order_id}/cancel"));
        let request = request.header("authorization", authorization).json(&json!({"reason": "customer deleted"}));
        let answer = self.0.send(request).await.map_err(|err| Error::OrdersAway(err.into()))?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            StatusCode::CONFLICT => {
                let refusal = Refusal::of(answer).await;
                let reason = refusal.map_or_else(|| "it is no longer open".to_owned(), |refusal| refusal.detail);
                Err(Error::OrderStays { order_id: order_id.to_owned(), reason })
            }
            status => Err(Error::OrdersAway(anyhow::anyhow!("cancel answered {status}"))),
        }
    }
}

/// Places asked about at once.
const PLACES_AT_ONCE: usize = 10;

/// The stock service.
#[derive(Debug)]
pub(crate) struct Places(RestPeer);

impl Places {
    pub(crate) fn new(url: &str, ctx: &Context) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("stock", url, TIMEOUT, ctx)?))
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
        let request = self.0.get(&format!("/api/places/{id}"));
        Ok(self.0.find::<IgnoredAny>(request, "place.not_found").await?.is_some())
    }
}
