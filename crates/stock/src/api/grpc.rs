//! `souk.stock.v1.Stock`: calls that change stock are for services; `Check` also for admins.

use std::collections::BTreeMap;

use auth::{Role, grpc_caller};
use chassis::Problem;
use commerce::{OrderId, PlaceId, ProductId, Quantity, Timestamp};
use proto::stock::v1::{
    CheckRequest, CheckResponse, CommitRequest, CommitResponse, HoldResult, HoldState, OrderLines, ReleaseRequest,
    ReleaseResponse, ReserveOutcome, ReserveRequest, ReserveResponse, ReserveResult, Shortage, stock_server::Stock,
};
use tonic::{Request, Response, Status};

use super::Api;
use crate::{
    domain::{ReservationRequest, ReservationState, Reserved, UnitOfWork},
    error::Error,
    store::unit_of_work::{self, LoadSet},
};

/// Most orders of one call.
const MAX_ORDERS: usize = 1_000;
/// Most lines of one order.
const MAX_LINES: usize = 10_000;
const CHANGE: &[Role] = &[Role::Service];
const READ: &[Role] = &[Role::Service, Role::Admin];

#[tonic::async_trait]
impl Stock for Api {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        grpc_caller(&request, READ)?;
        let orders = request.into_inner().orders;
        check_count(orders.len())?;
        let requests: Vec<_> = orders.iter().map(|order| self.parse(order)).collect();
        let unit = self.load(requests.iter().flatten()).await.map_err(Problem::from)?;
        let results = orders.into_iter().zip(requests).map(|(order, request)| {
            let reserved = match request {
                Err(why) => Reserved::Invalid(why),
                Ok(request) => unit.check(&request),
            };
            result(order.order_id, reserved)
        });
        Ok(Response::new(CheckResponse { results: results.collect() }))
    }

    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let orders = request.into_inner().orders;
        check_count(orders.len())?;
        let mut refusals = Vec::with_capacity(orders.len());
        let mut requests = Vec::with_capacity(orders.len());
        for order in &orders {
            let parsed = self.parse(order);
            refusals.push(parsed.as_ref().err().cloned());
            requests.extend(parsed);
        }
        let mut reserved = self.queue.reserve(requests).await.map_err(Problem::from)?.into_iter();
        let results = orders.into_iter().zip(refusals).map(|(order, refusal)| {
            let reserved = match refusal {
                Some(why) => Reserved::Invalid(why),
                // The queue returns a result for each request.
                None => reserved.next().unwrap_or_else(|| Reserved::Invalid("it could not be decided".into())),
            };
            self.reservations.with_label_values(&[label(&reserved)]).inc();
            result(order.order_id, reserved)
        });
        Ok(Response::new(ReserveResponse { results: results.collect() }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let ids = request.into_inner().order_ids;
        let states = self.queue.release(parse_ids(&ids)?).await.map_err(Problem::from)?;
        let results = hold_results(ids, states.into_iter().map(Some));
        Ok(Response::new(ReleaseResponse { results }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let ids = request.into_inner().order_ids;
        let states = self.queue.commit(parse_ids(&ids)?).await.map_err(Problem::from)?;
        let results = hold_results(ids, states.into_iter());
        Ok(Response::new(CommitResponse { results }))
    }
}

impl Api {
    /// Loads the current stock of these requests.
    async fn load(&self, requests: impl Iterator<Item = &ReservationRequest>) -> Result<UnitOfWork, Error> {
        let mut load_set = LoadSet::default();
        for request in requests {
            load_set.add_reservation(request);
        }
        let mut unit = UnitOfWork { now: Timestamp::now(), ..UnitOfWork::default() };
        let mut tx = self.db.snapshot().await?;
        unit_of_work::load(&mut tx, load_set, &mut unit).await?;
        Ok(unit)
    }

    /// Parses the lines of an order; lines of one product are added up.
    fn parse(&self, order: &OrderLines) -> Result<ReservationRequest, String> {
        if !(1..=MAX_LINES).contains(&order.lines.len()) {
            return Err(format!("{} lines; 1 to {MAX_LINES} are taken", order.lines.len()));
        }
        let place_id = match order.place_id.as_str() {
            "" => self.default_place.clone(),
            id => PlaceId::parse(id).map_err(|err| format!("place_id: {err}"))?,
        };
        let mut lines = BTreeMap::new();
        for line in &order.lines {
            let product_id = ProductId::parse(&line.product_id).map_err(|err| format!("product_id: {err}"))?;
            let quantity = Quantity::new(i64::from(line.quantity)).map_err(|err| format!("{product_id}: {err}"))?;
            *lines.entry(product_id).or_insert(0) += i64::from(quantity.get());
        }
        Ok(ReservationRequest {
            order_id: OrderId::parse(&order.order_id).map_err(|err| format!("order_id: {err}"))?,
            place_id,
            lines,
        })
    }
}

/// Parses the order ids of a call; a malformed one refuses the whole call.
fn parse_ids(ids: &[String]) -> Result<Vec<OrderId>, Status> {
    check_count(ids.len())?;
    ids.iter().map(|id| OrderId::parse(id).map_err(|err| Status::invalid_argument(err.to_string()))).collect()
}

fn hold_results(ids: Vec<String>, states: impl Iterator<Item = Option<ReservationState>>) -> Vec<HoldResult> {
    ids.into_iter()
        .zip(states)
        .map(|(order_id, state)| {
            let state = match state {
                Some(ReservationState::Held) => HoldState::Held,
                Some(ReservationState::Released) => HoldState::Released,
                Some(ReservationState::Committed) => HoldState::Committed,
                None => HoldState::Unknown,
            };
            HoldResult { order_id, state: state.into() }
        })
        .collect()
}

const fn label(reserved: &Reserved) -> &'static str {
    match reserved {
        Reserved::Held => "held",
        Reserved::Short(_) => "short",
        Reserved::Released => "released",
        Reserved::Committed => "committed",
        Reserved::Invalid(_) => "invalid",
    }
}

fn result(order_id: String, reserved: Reserved) -> ReserveResult {
    let pieces = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    let (outcome, shortages, detail) = match reserved {
        Reserved::Held => (ReserveOutcome::Reserved, Vec::new(), String::new()),
        Reserved::Released => (ReserveOutcome::Released, Vec::new(), String::new()),
        Reserved::Committed => (ReserveOutcome::Committed, Vec::new(), String::new()),
        Reserved::Invalid(why) => (ReserveOutcome::Invalid, Vec::new(), why),
        Reserved::Short(short) => {
            let short = short.into_iter().map(|shortage| Shortage {
                product_id: shortage.product_id.into(),
                requested: pieces(shortage.requested),
                available: pieces(shortage.available),
            });
            (ReserveOutcome::Short, short.collect(), String::new())
        }
    };
    ReserveResult { order_id, outcome: outcome.into(), shortages, detail }
}

fn check_count(count: usize) -> Result<(), Status> {
    if (1..=MAX_ORDERS).contains(&count) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{count} orders; 1 to {MAX_ORDERS} are taken at once")))
}
