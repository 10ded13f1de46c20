//! The client of the order service.

use std::time::Duration;

use auth::InternalKey;
use chassis::Metrics;
use serde::Deserialize;
use service::RestPeer;

/// The time-out of one call.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The client of the order service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Orders(RestPeer);

/// Whether an order can still be charged by its saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderProgress {
    /// The order does not exist.
    Unknown,
    /// The saga may still authorise a payment.
    Running,
    /// The saga has ended.
    Over,
}

#[derive(Deserialize)]
struct OrderBody {
    status: String,
}

impl Orders {
    /// A client for this URL.
    pub(crate) fn new(url: &str, key: InternalKey, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("order", url, TIMEOUT, metrics)?.with_key(key.for_service(crate::NAME))))
    }

    /// The progress of an order. The id must be valid in a path.
    pub(crate) async fn progress(&self, order_id: &str) -> anyhow::Result<OrderProgress> {
        let request = self.0.get(&format!("/api/orders/{order_id}"));
        Ok(match self.0.find::<OrderBody>(request, "order.not_found").await? {
            None => OrderProgress::Unknown,
            Some(order) if order.status == "pending" => OrderProgress::Running,
            Some(_) => OrderProgress::Over,
        })
    }
}
