//! Moving an order along its life, cancelling it, hiding it.

use auth::{AdminOnly, Allow, Caller};
use axum::{extract::State as AxumState, response::Response};
use chassis::{Json, Kind, OptionalJson, Path, Problem};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    State, if_match,
    orders::{Running, find, running},
    people_only, request, staff_only,
};
use crate::{
    cancel::Cancelled,
    domain::{Order, Status},
    store,
};

/// Hides an order; the accounts keep it.
#[utoipa::path(delete, path = "/api/orders/{id}", tag = "orders",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404), (status = 409)))]
pub(super) async fn archive(
    AxumState(state): AxumState<State>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let order = find(&state, &caller, &id).await?;
    if_match(&headers, order.version)?;
    if order.status == Status::Pending {
        return Err(Problem::new(Kind::Conflict, "The order is still running; cancel it first."));
    }
    let write = async {
        let mut tx = state.checkout.db.write().await?;
        store::archive(&mut tx, &order.id).await?;
        tx.commit().await?;
        Ok::<_, crate::error::Error>(())
    };
    write.await.map_err(Problem::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where an order is to be moved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewStatus {
    /// processing, shipped, delivered or cancelled.
    status: String,
}

/// Moves an order along its life; `cancelled` is cancel.
#[utoipa::path(put, path = "/api/orders/{id}/status", tag = "orders", request_body = NewStatus,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 409), (status = 412), (status = 422)))]
pub(super) async fn set_status(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewStatus>,
) -> Result<Response, Problem> {
    let to = Status::parse(&new.status).ok_or_else(|| {
        let all = Status::ALL.map(Status::as_str).join(", ");
        Problem::invalid("status", "enum", format!("one of {all}"))
    })?;
    if to != Status::Cancelled {
        staff_only(&caller, "move an order's status")?;
    }
    people_only(&caller)?;
    let order = find(&state, &caller, &id).await?;
    if_match(&headers, order.version)?;
    if to == order.status {
        return Ok(request::order_response(StatusCode::OK, &order));
    }
    if to == Status::Cancelled {
        return cancel_order(&state, &caller, order, None).await;
    }
    let moved = state.checkout.move_status(order, to, &caller.actor()).await.map_err(Problem::from)?;
    Ok(request::order_response(StatusCode::OK, &moved))
}

/// Why an order is cancelled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCancel {
    /// Told in the order's `reason`.
    #[serde(default)]
    reason: Option<String>,
}

/// Cancels an order: money and goods go back.
#[utoipa::path(post, path = "/api/orders/{id}/cancel", tag = "orders", request_body = Option<NewCancel>,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 202, body = Running), (status = 404), (status = 409), (status = 412)))]
pub(super) async fn cancel(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    OptionalJson(new): OptionalJson<NewCancel>,
) -> Result<Response, Problem> {
    people_only(&caller)?;
    let reason = new.unwrap_or_default().reason;
    if let Some(reason) = &reason {
        let mut errors = Vec::new();
        request::text(&mut errors, "reason", reason, 1..=500);
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
    }
    let order = find(&state, &caller, &id).await?;
    if_match(&headers, order.version)?;
    cancel_order(&state, &caller, order, reason).await
}

async fn cancel_order(
    state: &State,
    caller: &Caller,
    order: Order,
    reason: Option<String>,
) -> Result<Response, Problem> {
    let checkout = &state.checkout;
    let deadline = Instant::now() + checkout.patience();
    match checkout.cancel(&order.id, &caller.actor(), reason).await.map_err(Problem::from)? {
        Cancelled::Already(order) => Ok(request::order_response(StatusCode::OK, &order)),
        Cancelled::Decided => {
            let held = checkout.await_rest(&order.id, deadline).await.map_err(Problem::from)?;
            if held.order.status == Status::Cancelled {
                Ok(request::order_response(StatusCode::OK, &held.order))
            } else {
                Ok(running(held.order.id, held.order.state, held.order.status))
            }
        }
    }
}
