//! Clients of the peer services: time-outs, and calls that many orders share.

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
use service::{PeerError, RestPeer};
use tonic::{Request, Status};

use crate::config::Config;

mod places;

pub(crate) use places::{AvailabilityBound, Level};
use places::{Levels, Places};

/// Time-out of one call.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Most orders in one call.
const MAX_BATCH: usize = 256;
/// Most products in one request to the catalogue.
const MAX_PRODUCTS: usize = 1_000;
/// Most customers in one request.
const MAX_CUSTOMERS: usize = 100;

/// A call that brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// gRPC failed.
    #[error("the {0} service did not answer")]
    Grpc(&'static str, #[source] Box<Status>),
    /// REST failed.
    #[error(transparent)]
    Rest(#[from] PeerError),
    /// The peer answered with an error, or with something unexpected.
    #[error("the {0} service answered {1}")]
    Unexpected(&'static str, String),
    /// The circuit breaker is open, or the call timed out.
    #[error("{1}")]
    NotCalled(&'static str, String),
    /// No internal token could be made.
    #[error("no internal token")]
    Token(#[from] auth::AuthError),
}

impl From<CallError<Error>> for Error {
    fn from(why: CallError<Error>) -> Self {
        match why {
            CallError::Failed(error) => error,
            CallError::CircuitOpen(name) | CallError::Late(name) => Self::NotCalled(name, why.to_string()),
        }
    }
}

impl Error {
    /// The peer service that was called.
    pub(crate) fn peer(&self) -> Option<&'static str> {
        let name = match self {
            Self::Grpc(name, _) | Self::Unexpected(name, _) | Self::NotCalled(name, _) => name,
            Self::Rest(error) => error.peer()?,
            Self::Token(_) => return None,
        };
        Some(name.trim_end_matches(" gRPC"))
    }
}

type BatchResult<T> = Result<T, batch::Error<Error>>;

/// A product at its present price.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) price: Amount,
    pub(crate) currency: Currency,
    pub(crate) active: bool,
}

/// The clients of all peer services. Cheap to clone.
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
        let rest = |name, url| -> anyhow::Result<RestPeer> {
            Ok(RestPeer::new(name, url, CALL_TIMEOUT, ctx)?.with_key(key.clone()))
        };
        let catalogue = rest("product", &config.product_url)?;
        let customers = rest("customer", &config.customer_url)?;
        let stock_rest = rest("stock", &config.stock_url)?;
        let grpc = |name| Grpc { key: key.clone(), peer: Peer::new(name, CALL_TIMEOUT, &ctx.metrics), name };
        let channels = |url| ChannelPool::new(url, CALL_TIMEOUT, &ctx.network);
        let stock = StockCalls { channels: channels(&config.stock_grpc_url)?, grpc: grpc("stock gRPC") };
        let pay = PaymentCalls { channels: channels(&config.payment_grpc_url)?, grpc: grpc("payment gRPC") };
        let tasks = &ctx.tasks;
        Ok(Self {
            products: Batcher::start_with(tasks, MAX_BATCH, is_answer, move |requests| {
                let peer = catalogue.clone();
                async move { find_products(&peer, requests).await }
            }),
            customers: Batcher::start_with(tasks, MAX_CUSTOMERS, is_answer, move |ids| {
                let peer = customers.clone();
                async move { customers_exist(&peer, ids).await }
            }),
            reserve: {
                let stock = stock.clone();
                Batcher::start_with(tasks, MAX_BATCH, is_answer, move |orders| stock.clone().reserve(orders))
            },
            release: Batcher::start_with(tasks, MAX_BATCH, is_answer, move |ids| stock.clone().release(ids)),
            authorise: {
                let pay = pay.clone();
                Batcher::start_with(tasks, MAX_BATCH, is_answer, move |items| pay.clone().authorise(items))
            },
            void: {
                let pay = pay.clone();
                Batcher::start_with(tasks, MAX_BATCH, is_answer, move |items| pay.clone().void(items))
            },
            refund: Batcher::start_with(tasks, MAX_BATCH, is_answer, move |items| pay.clone().refund(items)),
            levels: Levels::new(stock_rest.clone()),
            places: Places::new(stock_rest),
        })
    }

    /// Products by their ids; those that the catalogue does not have are missing.
    pub(crate) async fn products(&self, ids: Vec<String>) -> BatchResult<HashMap<String, Product>> {
        self.products.run(ids).await
    }

    /// Whether a customer exists.
    pub(crate) async fn customer_exists(&self, id: String) -> BatchResult<bool> {
        self.customers.run(id).await
    }

    /// Whether a place exists.
    pub(crate) async fn place_exists(&self, id: &str) -> Result<bool, Error> {
        Ok(self.places.kind(id).await?.is_some())
    }

    /// Whether a place exists and is a store.
    pub(crate) async fn store_exists(&self, id: &str) -> Result<bool, Error> {
        Ok(self.places.kind(id).await?.as_deref() == Some("store"))
    }

    /// Available pieces of products at a place; products that it never had are missing.
    pub(crate) async fn available(&self, place_id: &str, ids: &[String]) -> Result<HashMap<String, i64>, Error> {
        self.levels.available(place_id, ids).await
    }

    /// The stock levels within a bound, in these places or in all; and whether there are more than were read.
    pub(crate) async fn levels(
        &self,
        bound: AvailabilityBound,
        places: Option<&[String]>,
    ) -> Result<(Vec<Level>, bool), Error> {
        self.levels.list(bound, places).await
    }

    /// Reserves the goods of an order, all or none.
    pub(crate) async fn reserve(&self, order: stock::OrderLines) -> BatchResult<stock::ReserveResult> {
        self.reserve.run(order).await
    }

    /// Releases the reservation of an order; a later reservation for it is refused.
    pub(crate) async fn release(&self, order_id: String) -> BatchResult<stock::HoldResult> {
        self.release.run(order_id).await
    }

    /// Authorises and captures the payment of an order.
    pub(crate) async fn authorise(&self, item: payment::Authorization) -> BatchResult<payment::OperationResult> {
        self.authorise.run(item).await
    }

    /// Voids the payment of an order; a later charge is refused.
    pub(crate) async fn void(&self, item: payment::Operation) -> BatchResult<payment::OperationResult> {
        self.void.run(item).await
    }

    /// Refunds a part of the payment of an order.
    pub(crate) async fn refund(&self, item: payment::Operation) -> BatchResult<payment::OperationResult> {
        self.refund.run(item).await
    }
}

/// Whether a failure was an answer, so that each item of the batch is tried by itself. After a time-out every item would
/// wait for it again, while all others queue.
fn is_answer(error: &Error) -> bool {
    match error {
        Error::Grpc(_, status) => !matches!(
            status.code(),
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled | tonic::Code::Unknown
        ),
        Error::Rest(error) => error.is_answer(),
        Error::Unexpected(..) => true,
        Error::Token(_) | Error::NotCalled(..) => false,
    }
}

/// Whether a failure of gRPC counts for the circuit breaker.
fn is_unavailable(error: &Error) -> bool {
    !matches!(error, Error::Token(_)) && !is_answer(error)
}

/// The products of each request by their ids.
async fn find_products(peer: &RestPeer, requests: Vec<Vec<String>>) -> Result<Vec<HashMap<String, Product>>, Error> {
    #[derive(Deserialize)]
    struct Body {
        data: Option<Data>,
        #[serde(default)]
        errors: Vec<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "productsByIds")]
        products: Vec<Option<Product>>,
    }
    let wanted: HashSet<&String> = requests.iter().flatten().collect();
    let wanted: Vec<&String> = wanted.into_iter().collect();
    let mut found: HashMap<String, Product> = HashMap::with_capacity(wanted.len());
    for ids in wanted.chunks(MAX_PRODUCTS) {
        let query = json!({
            "query": "query($ids:[ID!]!){productsByIds(ids:$ids){id name price currency active}}",
            "variables": {"ids": ids},
        });
        let body: Body = peer.json(peer.post("/graphql").json(&query)).await?;
        let data = body.data.ok_or_else(|| Error::Unexpected("product", format!("{:?}", body.errors)))?;
        found.extend(data.products.into_iter().flatten().map(|product| (product.id.clone(), product)));
    }
    Ok(requests
        .iter()
        .map(|ids| ids.iter().filter_map(|id| found.get_key_value(id)).map(|(id, p)| (id.clone(), p.clone())).collect())
        .collect())
}

/// Whether each customer exists.
async fn customers_exist(peer: &RestPeer, ids: Vec<String>) -> Result<Vec<bool>, Error> {
    #[derive(Deserialize)]
    struct Body {
        data: Vec<Customer>,
    }
    #[derive(Deserialize)]
    struct Customer {
        id: String,
        #[serde(default)]
        anonymised_at: Option<String>,
    }
    let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let query: Vec<(&str, &str)> = wanted.into_iter().map(|id| ("id", id)).chain([("limit", "100")]).collect();
    let body: Body = peer.json(peer.get("/api/customers").query(&query)).await?;
    let found: HashSet<&str> = body.data.iter().filter(|c| c.anonymised_at.is_none()).map(|c| c.id.as_str()).collect();
    Ok(ids.iter().map(|id| found.contains(id.as_str())).collect())
}

/// gRPC calls to one peer service.
#[derive(Clone)]
struct Grpc {
    key: InternalKey,
    peer: Peer,
    name: &'static str,
}

impl Grpc {
    fn request<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        request.set_timeout(self.peer.timeout());
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
        Ok(self.peer.call(is_unavailable, call).await?.into_inner())
    }
}

/// Checks that there is one result for each item.
fn check_count<R>(name: &'static str, items: usize, results: Vec<R>) -> Result<Vec<R>, Error> {
    if results.len() == items {
        Ok(results)
    } else {
        Err(Error::Unexpected(name, format!("{} results to {items} items", results.len())))
    }
}

#[derive(Clone)]
struct StockCalls {
    channels: ChannelPool,
    grpc: Grpc,
}

impl StockCalls {
    async fn reserve(self, orders: Vec<stock::OrderLines>) -> Result<Vec<stock::ReserveResult>, Error> {
        let items = orders.len();
        let request = self.grpc.request(stock::ReserveRequest { orders })?;
        let answer = self.grpc.answer(StockClient::new(self.channels.channel()).reserve(request)).await?;
        check_count("stock", items, answer.results)
    }

    async fn release(self, order_ids: Vec<String>) -> Result<Vec<stock::HoldResult>, Error> {
        let items = order_ids.len();
        let request = self.grpc.request(stock::ReleaseRequest { order_ids })?;
        let answer = self.grpc.answer(StockClient::new(self.channels.channel()).release(request)).await?;
        check_count("stock", items, answer.results)
    }
}

#[derive(Clone)]
struct PaymentCalls {
    channels: ChannelPool,
    grpc: Grpc,
}

type Operations = Result<Vec<payment::OperationResult>, Error>;

impl PaymentCalls {
    async fn authorise(self, items: Vec<payment::Authorization>) -> Operations {
        let count = items.len();
        let request = self.grpc.request(payment::AuthorizeRequest { items })?;
        let answer = self.grpc.answer(PaymentsClient::new(self.channels.channel()).authorize(request)).await?;
        check_count("payment", count, answer.results)
    }

    async fn void(self, items: Vec<payment::Operation>) -> Operations {
        let count = items.len();
        let request = self.grpc.request(payment::OperateRequest { items })?;
        let answer = self.grpc.answer(PaymentsClient::new(self.channels.channel()).void(request)).await?;
        check_count("payment", count, answer.results)
    }

    async fn refund(self, items: Vec<payment::Operation>) -> Operations {
        let count = items.len();
        let request = self.grpc.request(payment::OperateRequest { items })?;
        let answer = self.grpc.answer(PaymentsClient::new(self.channels.channel()).refund(request)).await?;
        check_count("payment", count, answer.results)
    }
}
