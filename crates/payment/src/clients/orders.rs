//! The order service.

use std::time::Duration;

use auth::InternalKey;
use chassis::Metrics;
use serde::Deserialize;
use service::RestPeer;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the order service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Orders(RestPeer);

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
    pub(crate) fn new(url: &str, key: InternalKey, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("order", url, TIMEOUT, metrics)?.with_key(key.for_service(crate::NAME))))
    }

    /// How the order of this id stands. The id fits a path.
    pub(crate) async fn standing(&self, order_id: &str) -> anyhow::Result<Standing> {
        let request = self.0.get(&format!("/api/orders/{order_id}"));
        Ok(match self.0.find::<OrderBody>(request, "order.not_found").await? {
            None => Standing::Unknown,
            Some(order) if order.status == "pending" => Standing::Running,
            Some(_) => Standing::Over,
        })
    }
}
