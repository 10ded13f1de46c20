//! What this service asks of others: the order service, whether an order still wants its stock; the product
//! service, which products there are.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use auth::InternalKey;
use chassis::Metrics;
use commerce::{OrderId, ProductId};
use serde::Deserialize;
use serde_json::json;
use service::RestPeer;

use crate::error::Error;

/// Time for one call: no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the order service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Orders(RestPeer);

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
    pub(crate) fn new(url: &str, key: InternalKey, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("order", url, TIMEOUT, metrics)?.with_key(key.for_service(crate::NAME))))
    }

    /// Whether the order still wants what is reserved for it.
    pub(crate) async fn wants(&self, order_id: &OrderId) -> anyhow::Result<Wanted> {
        let request = self.0.get(&format!("/api/orders/{order_id}"));
        let order = self.0.find::<OrderBody>(request, "order.not_found").await?;
        Ok(if order.is_some_and(|order| order.status != "cancelled") { Wanted::Yes } else { Wanted::No })
    }
}

/// What the catalogue is asked: an answer for each id, in their order.
const PRODUCTS: &str = "query($ids:[ID!]!){productsByIds(ids:$ids){id}}";

/// Asks the product service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalogue(RestPeer);

#[derive(Deserialize)]
struct ProductsBody {
    data: ProductsData,
}

#[derive(Deserialize)]
struct ProductsData {
    #[serde(rename = "productsByIds")]
    products: Vec<Option<ProductBody>>,
}

#[derive(Deserialize)]
struct ProductBody {}

impl Catalogue {
    /// The product service at this URL.
    pub(crate) fn new(url: &str, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("product", url, TIMEOUT, metrics)?))
    }

    /// Which of these (at most 1,000) the catalogue does not hold.
    pub(crate) async fn missing<'a>(&self, ids: BTreeSet<&'a ProductId>) -> Result<BTreeSet<&'a ProductId>, Error> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let held = self.ask(&ids).await.map_err(|err| Error::CatalogueUnreachable(err.into()))?;
        Ok(ids.into_iter().zip(held).filter_map(|(id, held)| (!held).then_some(id)).collect())
    }

    async fn ask(&self, ids: &BTreeSet<&ProductId>) -> anyhow::Result<Vec<bool>> {
        let question = json!({ "query": PRODUCTS, "variables": { "ids": ids } });
        // A failure inside GraphQL comes with 200 and without data, and cannot be read as an answer.
        let products = self.0.json::<ProductsBody>(self.0.post("/graphql").json(&question)).await?.data.products;
        ensure!(products.len() == ids.len(), "{} answers to {} ids", products.len(), ids.len());
        Ok(products.iter().map(Option::is_some).collect())
    }
}
