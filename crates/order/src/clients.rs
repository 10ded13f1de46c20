//! What the order service asks of others: ports, time-outs, and calls that many orders share.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, RwLock},
    time::Duration,
};

use auth::InternalKey;
use batch::Batcher;
use chassis::Context;
use commerce::{Amount, Currency};
use proto::{
    payment::v1::{self as payment, payments_client::PaymentsClient},
    stock::v1::{self as stock, stock_client::StockClient},
};
use serde::Deserialize;
use serde_json::json;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use crate::config::Config;

/// How long one call may take.
pub(crate) const STEP: Duration = Duration::from_secs(2);
/// Most orders in one call.
const SHARED: usize = 256;
/// Most products that the catalogue is asked for at once.
const CATALOGUE_PAGE: usize = 1_000;
/// Most customers that are asked for at once.
const CUSTOMER_PAGE: usize = 100;

/// A neighbour did not answer, or not in its language.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// By gRPC.
    #[error("the {0} service did not answer")]
    Grpc(&'static str, #[source] Box<Status>),
    /// By HTTP.
    #[error("the {0} service did not answer")]
    Http(&'static str, #[source] reqwest::Error),
    /// It answered, but not what was asked.
    #[error("the {0} service answered {1}")]
    Answer(&'static str, String),
    /// No internal token could be made.
    #[error("no internal token")]
    Token(#[from] auth::AuthError),
}

type Shared<T> = Result<T, batch::Error<Error>>;

/// A product as the catalogue sells it now.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) price: Amount,
    pub(crate) currency: Currency,
    pub(crate) active: bool,
}

/// All neighbours. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Clients {
    products: Batcher<Vec<String>, HashMap<String, Product>, Error>,
    customers: Batcher<String, bool, Error>,
    reserve: Batcher<stock::OrderLines, stock::ReserveResult, Error>,
    release: Batcher<String, stock::HoldResult, Error>,
    authorise: Batcher<payment::Authorization, payment::OperationResult, Error>,
    void: Batcher<payment::Operation, payment::OperationResult, Error>,
    refund: Batcher<payment::Operation, payment::OperationResult, Error>,
    places: Places,
}

impl Clients {
    pub(crate) fn new(config: &Config, ctx: &Context, key: &InternalKey) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(STEP).connect_timeout(STEP).build()?;
        let web = Web { http, key: key.clone() };
        let channel = |url: &str| -> anyhow::Result<Channel> {
            Ok(Endpoint::from_shared(url.to_owned())?
                .connect_timeout(STEP)
                .timeout(STEP)
                .tcp_nodelay(true)
                .connect_lazy())
        };
        let stock = StockCalls { client: StockClient::new(channel(&config.stock_grpc_url)?), key: key.clone() };
        let pay = PaymentCalls { client: PaymentsClient::new(channel(&config.payment_grpc_url)?), key: key.clone() };
        let tasks = &ctx.tasks;
        Ok(Self {
            products: {
                let (web, url) = (web.clone(), format!("{}/graphql", config.product_url));
                Batcher::start_with(tasks, SHARED, answered, move |asked| {
                    let (web, url) = (web.clone(), url.clone());
                    async move { web.products(&url, asked).await }
                })
            },
            customers: {
                let (web, url) = (web.clone(), format!("{}/api/customers", config.customer_url));
                Batcher::start_with(tasks, CUSTOMER_PAGE, answered, move |asked| {
                    let (web, url) = (web.clone(), url.clone());
                    async move { web.customers(&url, asked).await }
                })
            },
            reserve: {
                let stock = stock.clone();
                Batcher::start_with(tasks, SHARED, answered, move |orders| stock.clone().reserve(orders))
            },
            release: Batcher::start_with(tasks, SHARED, answered, move |ids| stock.clone().release(ids)),
            authorise: {
                let pay = pay.clone();
                Batcher::start_with(tasks, SHARED, answered, move |items| pay.clone().authorise(items))
            },
            void: {
                let pay = pay.clone();
                Batcher::start_with(tasks, SHARED, answered, move |items| pay.clone().void(items))
            },
            refund: Batcher::start_with(tasks, SHARED, answered, move |items| pay.clone().refund(items)),
            places: Places { web, url: format!("{}/api/places", config.stock_url), known: Arc::default() },
        })
    }

    /// Products by their ids; those that the catalogue does not hold are missing.
    pub(crate) async fn products(&self, ids: Vec<String>) -> Shared<HashMap<String, Product>> {
        self.products.run(ids).await
    }

    /// Whether there is such a customer.
    pub(crate) async fn customer_exists(&self, id: String) -> Shared<bool> {
        self.customers.run(id).await
    }

    /// Whether there is such a place.
    pub(crate) async fn place_exists(&self, id: &str) -> Result<bool, Error> {
        self.places.exists(id).await
    }

    /// Holds the goods of an order, all or none.
    pub(crate) async fn reserve(&self, order: stock::OrderLines) -> Shared<stock::ReserveResult> {
        self.reserve.run(order).await
    }

    /// Gives back what an order holds, and refuses what it may still ask for.
    pub(crate) async fn release(&self, order_id: String) -> Shared<stock::HoldResult> {
        self.release.run(order_id).await
    }

    /// Takes an order's money.
    pub(crate) async fn authorise(&self, item: payment::Authorization) -> Shared<payment::OperationResult> {
        self.authorise.run(item).await
    }

    /// Gives an order's money back whole, and refuses a late charge.
    pub(crate) async fn void(&self, item: payment::Operation) -> Shared<payment::OperationResult> {
        self.void.run(item).await
    }

    /// Gives a part of an order's money back.
    pub(crate) async fn refund(&self, item: payment::Operation) -> Shared<payment::OperationResult> {
        self.refund.run(item).await
    }
}

/// Whether a failure was an answer, so that each item is worth trying alone. Silence is not: every item
/// would wait for it again while all others queue.
fn answered(error: &Error) -> bool {
    match error {
        Error::Grpc(_, status) => !matches!(
            status.code(),
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled | tonic::Code::Unknown
        ),
        Error::Http(_, error) => !(error.is_timeout() || error.is_connect() || error.is_request()),
        Error::Answer(..) => true,
        Error::Token(_) => false,
    }
}

#[derive(Clone)]
struct Web {
    http: reqwest::Client,
    key: InternalKey,
}

impl Web {
    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        who: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<T, Error> {
        let mut headers = http::HeaderMap::new();
        chassis::trace::inject(&mut headers);
        let answer = request
            .headers(headers)
            .bearer_auth(self.key.mint(crate::NAME)?)
            .send()
            .await
            .map_err(|error| Error::Http(who, error))?;
        if !answer.status().is_success() {
            return Err(Error::Answer(who, answer.status().to_string()));
        }
        answer.json().await.map_err(|error| Error::Http(who, error))
    }

    async fn products(&self, url: &str, asked: Vec<Vec<String>>) -> Result<Vec<HashMap<String, Product>>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            data: Option<Data>,
            #[serde(default)]
            errors: Vec<serde_json::Value>,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "productsByIds")]
            products: Vec<Option<Product>>,
        }
        let wanted: HashSet<&String> = asked.iter().flatten().collect();
        let wanted: Vec<&String> = wanted.into_iter().collect();
        let mut found: HashMap<String, Product> = HashMap::with_capacity(wanted.len());
        for ids in wanted.chunks(CATALOGUE_PAGE) {
            let body = json!({
                "query": "query($ids:[ID!]!){productsByIds(ids:$ids){id name price currency active}}",
                "variables": {"ids": ids},
            });
            let answer: Answer = self.json("product", self.http.post(url).json(&body)).await?;
            let data = answer.data.ok_or_else(|| Error::Answer("product", format!("{:?}", answer.errors)))?;
            found.extend(data.products.into_iter().flatten().map(|product| (product.id.clone(), product)));
        }
        Ok(asked
            .iter()
            .map(|ids| {
                ids.iter().filter_map(|id| found.get_key_value(id)).map(|(id, p)| (id.clone(), p.clone())).collect()
            })
            .collect())
    }

    async fn customers(&self, url: &str, asked: Vec<String>) -> Result<Vec<bool>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            data: Vec<Customer>,
        }
        #[derive(Deserialize)]
        struct Customer {
            id: String,
            #[serde(default)]
            anonymised_at: Option<String>,
        }
        let wanted: HashSet<&str> = asked.iter().map(String::as_str).collect();
        let query: Vec<(&str, &str)> = wanted.into_iter().map(|id| ("id", id)).chain([("limit", "100")]).collect();
        let answer: Answer = self.json("customer", self.http.get(url).query(&query)).await?;
        let found: HashSet<&str> =
            answer.data.iter().filter(|c| c.anonymised_at.is_none()).map(|c| c.id.as_str()).collect();
        Ok(asked.iter().map(|id| found.contains(id.as_str())).collect())
    }
}

/// The places, which are few, never go, and are asked for again when one is not known.
#[derive(Clone)]
struct Places {
    web: Web,
    url: String,
    known: Arc<RwLock<HashSet<String>>>,
}

impl Places {
    async fn exists(&self, id: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Place {
            #[serde(rename = "id")]
            _id: String,
        }
        if self.known.read().is_ok_and(|known| known.contains(id)) {
            return Ok(true);
        }
        match self.web.json::<Place>("stock", self.web.http.get(format!("{}/{id}", self.url))).await {
            Ok(_) => {
                if let Ok(mut known) = self.known.write() {
                    known.insert(id.to_owned());
                }
                Ok(true)
            }
            Err(Error::Answer(_, status)) if status.starts_with("404") => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn request<T>(message: T, key: &InternalKey) -> Result<Request<T>, Error> {
    let mut request = Request::new(message);
    request.set_timeout(STEP);
    chassis::trace::inject_grpc(request.metadata_mut());
    let token = format!("Bearer {}", key.mint(crate::NAME)?);
    // A token is letters, digits and dots, so it is a header's value.
    if let Ok(value) = token.parse() {
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// One result an item, or the answer is none.
fn all<R>(who: &'static str, asked: usize, results: Vec<R>) -> Result<Vec<R>, Error> {
    if results.len() == asked {
        Ok(results)
    } else {
        Err(Error::Answer(who, format!("{} results to {asked} items", results.len())))
    }
}

#[derive(Clone)]
struct StockCalls {
    client: StockClient<Channel>,
    key: InternalKey,
}

impl StockCalls {
    async fn reserve(mut self, orders: Vec<stock::OrderLines>) -> Result<Vec<stock::ReserveResult>, Error> {
        let asked = orders.len();
        let request = request(stock::ReserveRequest { orders }, &self.key)?;
        let answer = self.client.reserve(request).await.map_err(|s| Error::Grpc("stock", s.into()))?;
        all("stock", asked, answer.into_inner().results)
    }

    async fn release(mut self, order_ids: Vec<String>) -> Result<Vec<stock::HoldResult>, Error> {
        let asked = order_ids.len();
        let request = request(stock::ReleaseRequest { order_ids }, &self.key)?;
        let answer = self.client.release(request).await.map_err(|s| Error::Grpc("stock", s.into()))?;
        all("stock", asked, answer.into_inner().results)
    }
}

#[derive(Clone)]
struct PaymentCalls {
    client: PaymentsClient<Channel>,
    key: InternalKey,
}

type Operations = Result<Vec<payment::OperationResult>, Error>;

impl PaymentCalls {
    async fn authorise(mut self, items: Vec<payment::Authorization>) -> Operations {
        let asked = items.len();
        let request = request(payment::AuthorizeRequest { items }, &self.key)?;
        let answer = self.client.authorize(request).await.map_err(|s| Error::Grpc("payment", s.into()))?;
        all("payment", asked, answer.into_inner().results)
    }

    async fn void(mut self, items: Vec<payment::Operation>) -> Operations {
        let asked = items.len();
        let request = request(payment::OperateRequest { items }, &self.key)?;
        let answer = self.client.void(request).await.map_err(|s| Error::Grpc("payment", s.into()))?;
        all("payment", asked, answer.into_inner().results)
    }

    async fn refund(mut self, items: Vec<payment::Operation>) -> Operations {
        let asked = items.len();
        let request = request(payment::OperateRequest { items }, &self.key)?;
        let answer = self.client.refund(request).await.map_err(|s| Error::Grpc("payment", s.into()))?;
        all("payment", asked, answer.into_inner().results)
    }
}
