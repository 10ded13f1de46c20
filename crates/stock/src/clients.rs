//! What this service asks of others: the order service, whether an order still wants its stock.

use std::time::Duration;

use auth::InternalKey;
use commerce::OrderId;
use serde::Deserialize;

/// A question takes no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the order service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Orders {
    http: reqwest::Client,
    base: String,
    key: InternalKey,
}

/// What an order wants of its reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is cancelled, or there is no such order.
    No,
    /// It may still be confirmed, or is.
    Yes,
}

#[derive(Deserialize)]
struct OrderBody {
    status: String,
}

impl Orders {
    /// The order service at this URL.
    pub(crate) fn new(base: &str, key: InternalKey) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            base: base.trim_end_matches('/').to_owned(),
            key: key.for_service(crate::NAME),
        })
    }

    /// Whether the order still wants what is set aside for it.
    pub(crate) async fn wants(&self, order_id: &OrderId) -> anyhow::Result<Wanted> {
        let mut headers = reqwest::header::HeaderMap::new();
        chassis::trace::inject(&mut headers);
        let answer = self
            .http
            .get(format!("{}/api/orders/{order_id}", self.base))
            .headers(headers)
            .bearer_auth(self.key.mint(crate::NAME)?)
            .send()
            .await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(Wanted::No);
        }
        let order: OrderBody = answer.error_for_status()?.json().await?;
        Ok(if order.status == "cancelled" { Wanted::No } else { Wanted::Yes })
    }
}
