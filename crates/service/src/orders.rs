//! The client of the order service for services that act on what an order became.

use std::time::Duration;

use auth::InternalKey;
use chassis::Context;
use serde::Deserialize;

use crate::{PeerError, RestPeer};

/// The time-out of one call: no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The client of the order service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OrderClient(RestPeer);

#[derive(Deserialize)]
struct OrderBody {
    status: String,
}

impl OrderClient {
    /// A client of the order service at this URL, which calls with tokens of the service `caller`.
    pub fn new(url: &str, key: InternalKey, caller: &'static str, ctx: &Context) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("order", url, TIMEOUT, ctx)?.with_key(key.for_service(caller))))
    }

    /// The status of an order (`pending`, `cancelled`, …); `None` if it does not exist. The id must be valid in a path.
    pub async fn status(&self, order_id: &str) -> Result<Option<String>, PeerError> {
        let request = self.0.get(&format!("/api/orders/{order_id}"));
        Ok(self.0.find::<OrderBody>(request, "order.not_found").await?.map(|order| order.status))
    }
}
