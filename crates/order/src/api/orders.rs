//! Placing, listing and reading orders.

use std::time::Duration;

use auth::{Allow, AnyUser, Caller};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, Kind, Path, Problem};
use commerce::{
    OrderId, Timestamp,
    page::{Page, PageQuery},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use service::{List, bad_page};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    order_body::NewOrder,
    request::{self, bad_query},
    require_own_place, require_visible, response,
    withdrawals::{ACKNOWLEDGE_BY_HELP, acknowledge_by},
};
use crate::{
    app::{OrderFilter, outcome::Outcome, place_order::place_order, queries},
    domain::{Channel, Order, SagaState, Status},
};

/// An order whose checkout or cancellation still runs. Request `status_url` for its outcome.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderInProgress {
    /// The order's id.
    id: OrderId,
    /// The present state.
    state: SagaState,
    /// The present status.
    status: Status,
    /// The path of the order.
    status_url: String,
}

/// Places an order and answers with its outcome.
///
/// Prices come from the catalogue. Refused with 409 when the stock is short and with 402 when the payment is refused; both
/// name the cancelled order. Answers with 202 when the checkout takes longer than the request waits, or with
/// `Prefer: respond-async`. A repeat under the same `Idempotency-Key` or id gets the outcome of the first request.
#[utoipa::path(post, path = "/api/orders", operation_id = "createOrder", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = Option<String>, Header), ("Prefer" = Option<String>, Header),
        ("Acknowledge-By" = Option<Timestamp>, Header, description = ACKNOWLEDGE_BY_HELP)),
    responses(
        (status = 200, body = Order, description = "The order that the same request made before"),
        (status = 201, body = Order, description = "The confirmed order"),
        (status = 202, body = OrderInProgress, description = "The order is still in progress; see `status_url`"),
        (status = 402, description = "The payment was refused; the order is cancelled"),
        (status = 409, description = "The stock is short and the order is cancelled, or an order with this id has other contents")))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Allow<AnyUser>,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<Response, Problem> {
    let mut request = new.check(&caller, &headers, Channel::Web)?;
    request.acknowledge_by = acknowledge_by(&state, &headers)?;
    let place = request.place_id.as_ref().map_or(state.app.config.default_place.as_str(), |id| id.as_str());
    require_own_place(&caller, place)?;
    outcome_response(place_order(&state.app, request, deadline(&state, &headers)).await?)
}

/// The time until which a request waits for the outcome of its order.
pub(super) fn deadline(state: &ApiState, headers: &HeaderMap) -> Instant {
    let timeout = if request::respond_async(headers) { Duration::ZERO } else { state.app.checkout_timeout() };
    Instant::now() + timeout
}

/// The response to a request for an order.
pub(super) fn outcome_response(outcome: Outcome) -> Result<Response, Problem> {
    Ok(match outcome {
        Outcome::Final(id, answer) => response::stored(&path(&id), answer),
        Outcome::Existing(order) => response::with_location(response::order(StatusCode::OK, &order), &path(&order.id)),
        Outcome::InProgress { id, state, status } => in_progress(id, state, status),
        Outcome::CartChanged => {
            let changed = Problem::new(Kind::Conflict, "The cart was changed meanwhile; try again.");
            return Err(changed.with_code("cart.changed"));
        }
    })
}

pub(super) fn path(id: &OrderId) -> String {
    format!("/api/orders/{id}")
}

/// 202 with the path of an order that still runs.
pub(super) fn in_progress(id: OrderId, state: SagaState, status: Status) -> Response {
    let path = path(&id);
    let body = OrderInProgress { id, state, status, status_url: path.clone() };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response::with_location(response, &path)
}

/// Filter of the list of orders.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListFilter {
    /// Only orders of this customer.
    customer_id: Option<String>,
    /// Only orders of this status: pending, confirmed, processing, shipped, delivered or cancelled.
    status: Option<String>,
    /// Only orders of this place.
    place_id: Option<String>,
    /// Only orders of this channel: web or store.
    channel: Option<String>,
    /// Only the order with this number.
    number: Option<i64>,
    /// Only orders placed at this time or later.
    placed_from: Option<Timestamp>,
    /// Only orders placed before this time.
    placed_to: Option<Timestamp>,
    /// `-number` (newest first, the default) or `number`.
    sort: Option<String>,
}

impl ListFilter {
    fn to_order_filter(&self, caller: &Caller) -> Result<OrderFilter, Problem> {
        let status = match &self.status {
            None => None,
            Some(text) => Some(Status::parse(text).ok_or_else(|| {
                bad_query("status", format!("`{text}` is none of {}", Status::ALL.map(Status::as_str).join(", ")))
            })?),
        };
        let channel = match self.channel.as_deref() {
            None => None,
            Some(text) => Some(
                Channel::parse(text).ok_or_else(|| bad_query("channel", format!("`{text}` is none of web, store")))?,
            ),
        };
        let ascending = match self.sort.as_deref() {
            None | Some("-number") => false,
            Some("number") => true,
            Some(_) => return Err(bad_query("sort", "number or -number")),
        };
        let mut filter = OrderFilter {
            customer_id: self.customer_id.clone(),
            status,
            place_id: self.place_id.clone(),
            visible_places: None,
            channel,
            number: self.number,
            placed_from: self.placed_from,
            placed_to: self.placed_to,
            ascending,
        };
        if caller.is_staff() && !caller.is_admin() {
            filter.visible_places = Some(caller.stores.clone());
        } else if !caller.is_staff() && !caller.is_service() {
            let own = caller.customer_id.clone().unwrap_or_default();
            if filter.customer_id.as_ref().is_some_and(|requested| *requested != own) {
                return Err(Problem::not_found("customer"));
            }
            filter.customer_id = Some(own);
        }
        Ok(filter)
    }
}

/// Lists orders, newest first unless `sort` differs.
///
/// Customers get their own orders, clerks and managers those of their stores. Archived orders are left out.
#[utoipa::path(get, path = "/api/orders", operation_id = "listOrders", tag = "orders", params(ListFilter, PageQuery),
    responses((status = 200, body = Page<Order>, description = "A page of orders")))]
pub(super) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    List { filter, paging }: List<ListFilter>,
) -> Result<Json<Page<Order>>, Problem> {
    let filter = filter.to_order_filter(&caller)?;
    let page = paging.page_request::<i64>(&state.order_cursors).map_err(bad_page)?;
    let (orders, total) = queries::list_orders(&state.app, &filter, &page).await?;
    Ok(Json(page.page(&state.order_cursors, orders, total, |order: &Order| order.number)))
}

/// Reads an order.
///
/// 404 for orders of other customers, and for staff of other stores.
#[utoipa::path(get, path = "/api/orders/{id}", operation_id = "getOrder", tag = "orders",
    params(("id" = String, Path)),
    responses((status = 200, body = Order, description = "The order")))]
pub(super) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&state, &caller, &id).await?;
    Ok(response::order(StatusCode::OK, &order))
}

/// The order, if it exists and the caller may see it; 404 otherwise.
pub(super) async fn find(state: &ApiState, caller: &Caller, id: &str) -> Result<Order, Problem> {
    match queries::find_order(&state.app, id).await? {
        Some(order) if !order.archived || caller.is_admin() || caller.is_service() => require_visible(caller, order),
        _ => Err(Problem::not_found("order")),
    }
}
