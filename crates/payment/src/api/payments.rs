//! `souk.payment.v1.Payments`: calls that change payments are for services; reading calls also for admins.

use auth::{Role, grpc_caller};
use chassis::Problem;
use commerce::page::{DEFAULT_LIMIT, MAX_LIMIT};
use proto::payment::v1::{
    AuthorizeRequest, GetRequest, GetResponse, ListRequest, ListResponse, OperateRequest, Operation, OperationResponse,
    payments_server::Payments,
};
use tonic::{Request, Response, Status};

use super::{
    Api,
    wire::{self, Item},
};
use crate::{
    domain::{Action, PaymentStatus},
    error::Error,
    store,
};

/// Most items of one call.
const MAX_ITEMS: usize = 1_000;
const CHANGE: &[Role] = &[Role::Service];
const READ: &[Role] = &[Role::Service, Role::Admin];

#[tonic::async_trait]
impl Payments for Api {
    async fn authorize(&self, request: Request<AuthorizeRequest>) -> Result<Response<OperationResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let items = request.into_inner().items;
        check_count(items.len())?;
        self.operate(items.into_iter().map(wire::authorization).collect()).await
    }

    async fn capture(&self, request: Request<OperateRequest>) -> Result<Response<OperationResponse>, Status> {
        let action = |item: &Operation| {
            wire::no_up_to(item)?;
            Ok(Action::Capture(wire::amount_or_all(item.amount)?))
        };
        self.operations(request, action).await
    }

    async fn void(&self, request: Request<OperateRequest>) -> Result<Response<OperationResponse>, Status> {
        self.operations(request, |item| wire::no_up_to(item).map(|()| Action::Void)).await
    }

    async fn refund(&self, request: Request<OperateRequest>) -> Result<Response<OperationResponse>, Status> {
        self.operations(request, wire::refund).await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        grpc_caller(&request, READ)?;
        let ids = request.into_inner().ids;
        check_count(ids.len())?;
        for id in &ids {
            wire::check_id(id).map_err(Status::invalid_argument)?;
        }
        let found = self.find(&ids).await.map_err(Problem::from)?;
        Ok(Response::new(GetResponse { payments: found.iter().map(wire::payment).collect() }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        grpc_caller(&request, READ)?;
        let request = request.into_inner();
        let limit = match request.limit {
            0 => DEFAULT_LIMIT,
            limit if limit <= MAX_LIMIT => limit,
            limit => {
                return Err(Status::invalid_argument(format!("limit {limit} is more than {MAX_LIMIT}")));
            }
        };
        let filter = self.parse_filter(request)?;
        let mut payments = self.list_page(&filter, limit).await.map_err(Problem::from)?;
        let more = payments.len() > limit as usize;
        payments.truncate(limit as usize);
        let last = payments.last().and_then(|payment| payment.number);
        Ok(Response::new(ListResponse {
            payments: payments.iter().map(wire::payment).collect(),
            next_cursor: last.filter(|_| more).map(|last| self.cursors.encode(&last)).unwrap_or_default(),
        }))
    }
}

impl Api {
    async fn operations(
        &self,
        request: Request<OperateRequest>,
        action: impl Fn(&Operation) -> Result<Action, String>,
    ) -> Result<Response<OperationResponse>, Status> {
        grpc_caller(&request, CHANGE)?;
        let items = request.into_inner().items;
        check_count(items.len())?;
        self.operate(items.into_iter().map(|item| wire::operation(item, &action)).collect()).await
    }

    /// Performs the valid items. One result for each item, in their order.
    async fn operate(&self, items: Vec<Item>) -> Result<Response<OperationResponse>, Status> {
        let requests = items.iter().filter_map(|item| item.request.clone().ok()).collect();
        let mut replies = self.operations.perform(requests).await.map_err(Problem::from)?.into_iter();
        let results = items
            .into_iter()
            .map(|item| match &item.request {
                Err(why) => wire::invalid(&item, why),
                Ok(_) => wire::result(&item, replies.next()),
            })
            .collect();
        Ok(Response::new(OperationResponse { results }))
    }

    async fn find(&self, ids: &[String]) -> Result<Vec<crate::domain::Payment>, Error> {
        let mut tx = self.db.snapshot().await?;
        store::payments::find(&mut tx, ids).await
    }

    async fn list_page(
        &self,
        filter: &store::payments::Filter,
        limit: u32,
    ) -> Result<Vec<crate::domain::Payment>, Error> {
        let mut tx = self.db.snapshot().await?;
        store::payments::list(&mut tx, filter, i64::from(limit) + 1).await
    }

    fn parse_filter(&self, request: ListRequest) -> Result<store::payments::Filter, Status> {
        let text = |value: String| (!value.is_empty()).then_some(value);
        let before = text(request.cursor)
            .map(|cursor| self.cursors.decode::<i64>(&cursor))
            .transpose()
            .map_err(|bad| Status::invalid_argument(bad.to_string()))?;
        let status = text(request.status)
            .map(|word| match PaymentStatus::parse(&word) {
                None | Some(PaymentStatus::Tombstone) => {
                    Err(Status::invalid_argument(format!("`{word}` is not a status of a payment")))
                }
                Some(status) => Ok(status),
            })
            .transpose()?;
        let order_id = text(request.order_id);
        if let Some(id) = &order_id {
            wire::check_id(id).map_err(Status::invalid_argument)?;
        }
        Ok(store::payments::Filter { order_id, status, before })
    }
}

fn check_count(count: usize) -> Result<(), Status> {
    if (1..=MAX_ITEMS).contains(&count) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{count} items; 1 to {MAX_ITEMS} are taken at once")))
}
