//! Withdrawing and acknowledging orders, for programs that place orders for clients without idempotency keys.

use auth::{AdminOnly, Allow};
use axum::extract::State;
use chassis::{Path, Problem};
use commerce::{OrderId, Timestamp};
use http::{HeaderMap, HeaderName, StatusCode};

use super::{ApiState, request::bad_query};
use crate::app::withdraw;

/// Until when the order must be acknowledged.
const ACKNOWLEDGE_BY: HeaderName = HeaderName::from_static("acknowledge-by");

/// The description of the header.
pub(super) const ACKNOWLEDGE_BY_HELP: &str = "A time at most 600 seconds from now: the order is withdrawn unless `acknowledgeOrder` is called \
     by then. For programs that place orders for clients without idempotency keys.";

/// The time in the `Acknowledge-By` header, if there is one.
pub(super) fn acknowledge_by(state: &ApiState, headers: &HeaderMap) -> Result<Option<Timestamp>, Problem> {
    let Some(value) = headers.get(ACKNOWLEDGE_BY) else { return Ok(None) };
    let time = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let time = time.ok_or_else(|| bad_query("Acknowledge-By", "a time such as 2026-01-31T12:00:00Z"))?;
    withdraw::check_deadline(&state.app, time).map(Some)
}

/// Withdraws an order that its client gave up.
///
/// The order is cancelled, or all its goods are returned if they were shipped. The order need not exist yet: it is refused when it comes
/// late. What cannot be undone at once is undone later. A repeat changes nothing. For admins, also programs that act as
/// one.
#[utoipa::path(post, path = "/api/orders/{id}/withdrawal", operation_id = "withdrawOrder", tag = "orders",
    params(("id" = String, Path)),
    responses((status = 204, description = "The withdrawal is decided")))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = OrderId::parse(&id).map_err(|_| Problem::not_found("order"))?;
    withdraw::withdraw(&state.app, &id, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Acknowledges an order: its client knows of it, so it stays.
///
/// An order that was placed with `Acknowledge-By` is withdrawn unless it is acknowledged by then. A repeat changes nothing. For admins.
#[utoipa::path(post, path = "/api/orders/{id}/acknowledgement", operation_id = "acknowledgeOrder", tag = "orders",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "The order stays"),
        (status = 409, description = "The order was withdrawn")))]
pub(super) async fn acknowledge(
    State(state): State<ApiState>,
    _: Allow<AdminOnly>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = OrderId::parse(&id).map_err(|_| Problem::not_found("order"))?;
    withdraw::acknowledge(&state.app, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
