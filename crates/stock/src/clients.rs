//! What this service asks of others: the order service, whether an order still wants its stock; the product
//! service, which products there are.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{bail, ensure};
use auth::InternalKey;
use chassis::{Metrics, Peer};
use commerce::{OrderId, ProductId};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;

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
    who: Peer,
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

/// The client of both services.
pub(crate) fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(TIMEOUT).build()?)
}

impl Orders {
    /// The order service at this URL.
    pub(crate) fn new(http: reqwest::Client, base: &str, key: InternalKey, metrics: &Metrics) -> Self {
        let who = Peer::new("order", TIMEOUT, metrics);
        Self { http, base: base.trim_end_matches('/').to_owned(), key: key.for_service(crate::NAME), who }
    }

    /// Whether the order still wants what is set aside for it.
    pub(crate) async fn wants(&self, order_id: &OrderId) -> anyhow::Result<Wanted> {
        let request = self.http.get(format!("{}/api/orders/{order_id}", self.base));
        let answer = self.who.send(request.bearer_auth(self.key.mint(crate::NAME)?)).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            // Anybody's 404 is about a path; goods are given back only on the order service's own word.
            return match chassis::refusal(answer).await {
                Some(said) if said == NO_ORDER => Ok(Wanted::No),
                _ => bail!("404, but not the order service's"),
            };
        }
        let order: OrderBody = answer.error_for_status()?.json().await?;
        Ok(if order.status == "cancelled" { Wanted::No } else { Wanted::Yes })
    }
}

/// What the catalogue is asked: an answer for each id, in their order.
const PRODUCTS: &str = "query($ids:[ID!]!){productsByIds(ids:$ids){id}}";

/// Asks the product service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalogue {
    http: reqwest::Client,
    url: String,
    who: Peer,
}

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
    pub(crate) fn new(http: reqwest::Client, base: &str, metrics: &Metrics) -> Self {
        let who = Peer::new("product", TIMEOUT, metrics);
        Self { http, url: format!("{}/graphql", base.trim_end_matches('/')), who }
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
        let answer = self.who.send(self.http.post(&self.url).json(&question)).await?;
        // A failure inside GraphQL comes with 200 and without data, and cannot be read as an answer.
        let products = answer.error_for_status()?.json::<ProductsBody>().await?.data.products;
        ensure!(products.len() == ids.len(), "{} answers to {} ids", products.len(), ids.len());
        Ok(products.iter().map(Option::is_some).collect())
    }
}
