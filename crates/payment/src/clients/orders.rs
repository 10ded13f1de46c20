//! The order service.

use std::time::Duration;

use anyhow::bail;
use auth::InternalKey;
use chassis::{Metrics, Peer};
use reqwest::StatusCode;
use serde::Deserialize;

const TIMEOUT: Duration = Duration::from_secs(2);
/// What the order service says of an order that it does not know.
const NO_ORDER: &str = "There is no such order.";

/// Asks the order service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Orders {
    http: reqwest::Client,
    base: String,
    key: InternalKey,
    who: Peer,
}

/// How an order stands with its money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is no such order.
    Unknown,
    /// Its saga may still ask for money.
    Running,
    /// Its saga is over.
    Over,
}

#[derive(Deserialize)]
struct OrderBody {
    status: String,
}

impl Orders {
    /// The order service at this URL.
    pub(crate) fn new(base: &str, key: InternalKey, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            base: base.trim_end_matches('/').to_owned(),
            key: key.for_service(crate::NAME),
            who: Peer::new("order", TIMEOUT, metrics),
        })
    }

    /// How the order of this id stands. The id fits a path.
    pub(crate) async fn standing(&self, order_id: &str) -> anyhow::Result<Standing> {
        let request = self.http.get(format!("{}/api/orders/{order_id}", self.base));
        let answer = self.who.send(request.bearer_auth(self.key.mint(crate::NAME)?)).await?;
        if answer.status() != StatusCode::NOT_FOUND {
            let order: OrderBody = answer.error_for_status()?.json().await?;
            return Ok(if order.status == "pending" { Standing::Running } else { Standing::Over });
        }
        // Anybody's 404 is about a path; money is taken only on the order service's own word.
        match chassis::refusal(answer).await {
            Some(said) if said == NO_ORDER => Ok(Standing::Unknown),
            _ => bail!("404, but not the order service's"),
        }
    }
}
