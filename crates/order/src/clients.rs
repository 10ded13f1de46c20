//! What the order service asks of others: ports, time-outs, and calls that many orders share.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use auth::InternalKey;
use batch::Batcher;
use chassis::{CallError, Context, Peer, grpc::ChannelPool};
use commerce::{Amount, Currency};
use proto::{
    payment::v1::{self as payment, payments_client::PaymentsClient},
    stock::v1::{self as stock, stock_client::StockClient},
};
use serde::Deserialize;
use serde_json::json;
use tonic::{Request, Status};

use crate::config::Config;

mod places;

pub(crate) use places::{Bound, Level};
use places::{Levels, Places};

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
    /// It is spared, or took too long.
    #[error("{0}")]
    Silent(String),
    /// No internal token could be made.
    #[error("no internal token")]
    Token(#[from] auth::AuthError),
}

impl From<CallError<Error>> for Error {
    fn from(why: CallError<Error>) -> Self {
        match why {
            CallError::Failed(error) => error,
            silent => Self::Silent(silent.to_string()),
        }
    }
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
    levels: Levels,
}

impl Clients {
    pub(crate) fn new(config: &Config, ctx: &Context, key: &InternalKey) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(STEP).connect_timeout(STEP).build()?;
        let neighbour = |name| Peer::new(name, STEP, &ctx.metrics);
        let web = |name| Web { http: http.clone(), key: key.clone(), who: neighbour(name), name };
        let (catalogue, customers, places) = (web("product"), web("customer"), web("stock"));
        let calls = |name| Calls { key: key.clone(), who: neighbour(name), name };
        let stock = StockCalls { spread: ChannelPool::new(&config.stock_grpc_url, STEP)?, calls: calls("stock gRPC") };
        let pay =
            PaymentCalls { spread: ChannelPool::new(&config.payment_grpc_url, STEP)?, calls: calls("payment gRPC") };
        let tasks = &ctx.tasks;
        Ok(Self {
            products: {
                let (web, url) = (catalogue, format!("{}/graphql", config.product_url));
                Batcher::start_with(tasks, SHARED, answered, move |asked| {
                    let (web, url) = (web.clone(), url.clone());
                    async move { web.products(&url, asked).await }
                })
            },
            customers: {
                let (web, url) = (customers, format!("{}/api/customers", config.customer_url));
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
            levels: Levels::new(places.clone(), &config.stock_url),
            places: Places::new(places, &config.stock_url),
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
        Ok(self.places.kind(id).await?.is_some())
    }

    /// Whether there is such a place, and it is a store.
    pub(crate) async fn store_exists(&self, id: &str) -> Result<bool, Error> {
        Ok(self.places.kind(id).await?.as_deref() == Some("store"))
    }

    /// Pieces of products that a place can promise; those that it has never had are missing.
    pub(crate) async fn available(&self, place_id: &str, ids: &[String]) -> Result<HashMap<String, i64>, Error> {
        self.levels.available(place_id, ids).await
    }

    /// All levels of which at least or at most so much can be promised, in one of these places where some are named; and
    /// whether there are more than are worth asking for.
    pub(crate) async fn levels(&self, bound: Bound, places: Option<&Vec<String>>) -> Result<(Vec<Level>, bool), Error> {
        self.levels.all(bound, places).await
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
        Error::Token(_) | Error::Silent(_) => false,
    }
}

/// Whether a failure counts against the neighbour: silence, and an edge or a service that says it cannot.
fn is_away(error: &Error) -> bool {
    match error {
        Error::Answer(_, status) => ["502", "503", "504"].iter().any(|away| status.starts_with(away)),
        Error::Token(_) => false,
        error => !answered(error),
    }
}

#[derive(Clone)]
struct Web {
    http: reqwest::Client,
    key: InternalKey,
    who: Peer,
    name: &'static str,
}

impl Web {
    async fn json<T: serde::de::DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Error> {
        let request = request.headers(self.who.headers()).bearer_auth(self.key.mint(crate::NAME)?);
        let call = async {
            let answer = request.send().await.map_err(|error| Error::Http(self.name, error))?;
            if !answer.status().is_success() {
                return Err(Error::Answer(self.name, answer.status().to_string()));
            }
            answer.json().await.map_err(|error| Error::Http(self.name, error))
        };
        Ok(self.who.call(is_away, call).await?)
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
            let answer: Answer = self.json(self.http.post(url).json(&body)).await?;
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
        let answer: Answer = self.json(self.http.get(url).query(&query)).await?;
        let found: HashSet<&str> =
            answer.data.iter().filter(|c| c.anonymised_at.is_none()).map(|c| c.id.as_str()).collect();
        Ok(asked.iter().map(|id| found.contains(id.as_str())).collect())
    }
}

/// gRPC calls of one neighbour.
#[derive(Clone)]
struct Calls {
    key: InternalKey,
    who: Peer,
    name: &'static str,
}

impl Calls {
    fn request<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        request.set_timeout(self.who.timeout());
        chassis::trace::inject_grpc(request.metadata_mut());
        let token = format!("Bearer {}", self.key.mint(crate::NAME)?);
        // A token is letters, digits and dots, so it is a header's value.
        if let Ok(value) = token.parse() {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Error> {
        let call = async { call.await.map_err(|status| Error::Grpc(self.name, status.into())) };
        Ok(self.who.call(is_away, call).await?.into_inner())
    }
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
    spread: ChannelPool,
    calls: Calls,
}

impl StockCalls {
    async fn reserve(self, orders: Vec<stock::OrderLines>) -> Result<Vec<stock::ReserveResult>, Error> {
        let asked = orders.len();
        let request = self.calls.request(stock::ReserveRequest { orders })?;
        let answer = self.calls.answer(StockClient::new(self.spread.channel()).reserve(request)).await?;
        all("stock", asked, answer.results)
    }

    async fn release(self, order_ids: Vec<String>) -> Result<Vec<stock::HoldResult>, Error> {
        let asked = order_ids.len();
        let request = self.calls.request(stock::ReleaseRequest { order_ids })?;
        let answer = self.calls.answer(StockClient::new(self.spread.channel()).release(request)).await?;
        all("stock", asked, answer.results)
    }
}

#[derive(Clone)]
struct PaymentCalls {
    spread: ChannelPool,
    calls: Calls,
}

type Operations = Result<Vec<payment::OperationResult>, Error>;

impl PaymentCalls {
    async fn authorise(self, items: Vec<payment::Authorization>) -> Operations {
        let asked = items.len();
        let request = self.calls.request(payment::AuthorizeRequest { items })?;
        let answer = self.calls.answer(PaymentsClient::new(self.spread.channel()).authorize(request)).await?;
        all("payment", asked, answer.results)
    }

    async fn void(self, items: Vec<payment::Operation>) -> Operations {
        let asked = items.len();
        let request = self.calls.request(payment::OperateRequest { items })?;
        let answer = self.calls.answer(PaymentsClient::new(self.spread.channel()).void(request)).await?;
        all("payment", asked, answer.results)
    }

    async fn refund(self, items: Vec<payment::Operation>) -> Operations {
        let asked = items.len();
        let request = self.calls.request(payment::OperateRequest { items })?;
        let answer = self.calls.answer(PaymentsClient::new(self.spread.channel()).refund(request)).await?;
        all("payment", asked, answer.results)
    }
}
