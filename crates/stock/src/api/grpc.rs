//! `souk.stock.v1.Stock`: changing calls for services, `Check` for admins too.

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
    commands::{Command, Outcome},
    domain::{ReservationState, Reserved, UnitOfWork},
    error::Error,
    store::unit_of_work::{self, LoadSet},
};

/// Most orders of one call.
const MAX_ORDERS: usize = 1_000;
/// Most lines of one order.
const MAX_LINES: usize = 10_000;
const CHANGE: &[Role] = &[Role::Service];
const READ: &[Role] = &[Role::Service, Role::Admin];

/// An order's lines as they can be worked with.
struct Wanted {
    order_id: OrderId,
    place_id: PlaceId,
    lines: BTreeMap<ProductId, i64>,
}

#[tonic::async_trait]
impl Stock for Api {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        grpc_caller(&request, READ)?;
        let orders = request.into_inner().orders;
        check_count(orders.len())?;
        let wanted: Vec<_> = orders.iter().map(|order| self.read(order)).collect();
        let unit = self.look(&wanted).await.map_err(Problem::from)?;
        let results = orders.into_iter().zip(wanted).map(|(order, wanted)| {
            let reserved = match wanted {
                Err(why) => Reserved::Invalid(why),
                Ok(wanted) => unit.check(&wanted.order_id, &wanted.place_id, &wanted.lines),
            };
            result(order.order_id, reserved)
        });
        Ok(Response::new(CheckResponse { results: results.collect() }))
    }

    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let orders = request.into_inner().orders;
        check_count(orders.len())?;
        let wanted: Vec<_> = orders.iter().map(|order| self.read(order)).collect();
        let mut refusals = Vec::with_capacity(wanted.len());
        let mut tasks = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            refusals.push(wanted.as_ref().err().cloned());
            tasks.extend(wanted.ok().map(|Wanted { order_id, place_id, lines }| Command::Reserve {
                order_id,
                place_id,
                lines,
            }));
        }
        let mut answers = self.run(tasks).await?.into_iter();
        let results = orders.into_iter().zip(refusals).map(|(order, refusal)| {
            let reserved = match refusal {
                Some(why) => Reserved::Invalid(why),
                None => match answers.next() {
                    Some(Outcome::Reserved(reserved)) => reserved,
                    _ => Reserved::Invalid("it could not be decided".into()),
                },
            };
            self.reservations.with_label_values(&[label(&reserved)]).inc();
            result(order.order_id, reserved)
        });
        Ok(Response::new(ReserveResponse { results: results.collect() }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let results = self.hold(request.into_inner().order_ids, Command::Release).await?;
        Ok(Response::new(ReleaseResponse { results }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let results = self.hold(request.into_inner().order_ids, Command::Commit).await?;
        Ok(Response::new(CommitResponse { results }))
    }
}

impl Api {
    async fn run(&self, tasks: Vec<Command>) -> Result<Vec<Outcome>, Status> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.queue.run(tasks).await.map_err(Problem::from)?)
    }

    async fn hold(&self, ids: Vec<String>, task: fn(OrderId) -> Command) -> Result<Vec<HoldResult>, Status> {
        check_count(ids.len())?;
        let tasks = ids
            .iter()
            .map(|id| OrderId::parse(id).map(task))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|err| Status::invalid_argument(err.to_string()))?;
        let answers = self.run(tasks).await?;
        Ok(ids
            .into_iter()
            .zip(answers)
            .map(|(order_id, answer)| {
                let state = match answer {
                    Outcome::Reservation(Some(ReservationState::Held)) => HoldState::Held,
                    Outcome::Reservation(Some(ReservationState::Released)) => HoldState::Released,
                    Outcome::Reservation(Some(ReservationState::Committed)) => HoldState::Committed,
                    _ => HoldState::Unknown,
                };
                HoldResult { order_id, state: state.into() }
            })
            .collect())
    }

    /// The books of these orders, as they stand.
    async fn look(&self, wanted: &[Result<Wanted, String>]) -> Result<UnitOfWork, Error> {
        let mut load_set = LoadSet::default();
        for wanted in wanted.iter().flatten() {
            load_set.orders.insert(wanted.order_id.as_str());
            load_set.places.insert(wanted.place_id.as_str());
            load_set.products.extend(wanted.lines.keys().map(|id| id.as_str()));
        }
        let mut unit = UnitOfWork { now: Timestamp::now(), ..UnitOfWork::default() };
        let mut tx = self.db.snapshot().await?;
        unit_of_work::load(&mut tx, load_set, &mut unit).await?;
        Ok(unit)
    }

    /// Reads an item; lines of one product count together.
    fn read(&self, order: &OrderLines) -> Result<Wanted, String> {
        if !(1..=MAX_LINES).contains(&order.lines.len()) {
            return Err(format!("{} lines; 1 to {MAX_LINES} are taken", order.lines.len()));
        }
        let place_id = match order.place_id.as_str() {
            "" => self.logistics.clone(),
            id => PlaceId::parse(id).map_err(|err| format!("place_id: {err}"))?,
        };
        let mut lines = BTreeMap::new();
        for line in &order.lines {
            let product_id = ProductId::parse(&line.product_id).map_err(|err| format!("product_id: {err}"))?;
            let quantity = Quantity::new(i64::from(line.quantity)).map_err(|err| format!("{product_id}: {err}"))?;
            *lines.entry(product_id).or_insert(0) += i64::from(quantity.get());
        }
        Ok(Wanted {
            order_id: OrderId::parse(&order.order_id).map_err(|err| format!("order_id: {err}"))?,
            place_id,
            lines,
        })
    }
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
