//! What this service asks of others: the order service, whether an order still wants its stock.

use std::time::Duration;

use anyhow::bail;
use auth::InternalKey;
use commerce::OrderId;
use reqwest::{Response, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;

/// A question takes no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What the order service says of an order that it does not know.
const NO_ORDER: &str = "There is no such order.";

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

#[derive(Deserialize)]
struct ProblemBody {
    detail: String,
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
        if answer.status() == StatusCode::NOT_FOUND {
            // Anybody's 404 is about a path; goods are given back only on the order service's own word.
            if !is_unknown(answer).await {
                bail!("404, but not the order service's");
            }
            return Ok(Wanted::No);
        }
        let order: OrderBody = answer.error_for_status()?.json().await?;
        Ok(if order.status == "cancelled" { Wanted::No } else { Wanted::Yes })
    }
}

/// Whether a 404 is the order service's word that there is no such order.
async fn is_unknown(answer: Response) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/problem+json") {
        return false;
    }
    // A body that cannot be read says nothing: the question is asked again later.
    answer.json::<ProblemBody>().await.is_ok_and(|problem| problem.detail == NO_ORDER)
}
