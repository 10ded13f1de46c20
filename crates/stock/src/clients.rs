//! The client of the product service, which is asked whether products exist.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use chassis::Context;
use commerce::ProductId;
use serde::Deserialize;
use serde_json::json;
use service::RestPeer;

use crate::error::Error;

/// Time for one call: no longer than a step of a checkout.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The query for products: one answer for each id, in their order.
const PRODUCTS: &str = "query($ids:[ID!]!){productsByIds(ids:$ids){id}}";

/// The client of the product service. Cheap to clone.
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
    /// A client for this URL.
    pub(crate) fn new(url: &str, ctx: &Context) -> anyhow::Result<Self> {
        Ok(Self(RestPeer::new("product", url, TIMEOUT, ctx)?))
    }

    /// The products of these (at most 1,000) that the catalogue does not contain.
    pub(crate) async fn missing<'a>(&self, ids: BTreeSet<&'a ProductId>) -> Result<BTreeSet<&'a ProductId>, Error> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let exists = self.exist(&ids).await.map_err(|err| Error::CatalogueUnreachable(err.into()))?;
        Ok(ids.into_iter().zip(exists).filter_map(|(id, exists)| (!exists).then_some(id)).collect())
    }

    /// Whether each of these products exists, in their order.
    async fn exist(&self, ids: &BTreeSet<&ProductId>) -> anyhow::Result<Vec<bool>> {
        let question = json!({ "query": PRODUCTS, "variables": { "ids": ids } });
        // A failure inside GraphQL has status 200 and no data, so it is not taken for an answer.
        let products = self.0.json::<ProductsBody>(self.0.post("/graphql").json(&question)).await?.data.products;
        ensure!(products.len() == ids.len(), "{} answers to {} ids", products.len(), ids.len());
        Ok(products.iter().map(Option::is_some).collect())
    }
}
