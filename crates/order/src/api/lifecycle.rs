//! Changing the status of an order, amending, cancelling and archiving it.

use std::collections::BTreeMap;

use auth::{AdminOnly, Allow, Caller, Staff};
use axum::{extract::State, response::Response};
use chassis::{FieldError, Json, Kind, OptionalJson, Path, Problem, check_text};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    ApiState, check_if_match,
    order_body::{check_adjustments, check_metadata},
    orders::{OrderInProgress, find, in_progress},
    require_staff, require_user, response,
};
use crate::{
    app::{
        amend::{self, Amendment},
        cancel::{self, Cancellation},
        change_status,
        outcome::wait_until_idle,
    },
    domain::{Adjustment, Order, Status},
};

/// Archives an order.
///
/// An archived order is hidden from lists and from all callers but admins and services. Refused with 409 while the order
/// is pending.
#[utoipa::path(delete, path = "/api/orders/{id}", operation_id = "archiveOrder", tag = "orders",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Archived"),
        (status = 409, description = "The order is pending")))]
pub(super) async fn archive(
    State(state): State<ApiState>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let order = find(&state, &caller, &id).await?;
    check_if_match(&headers, order.version)?;
    if order.status == Status::Pending {
        let pending = Problem::new(Kind::Conflict, "The order is still pending; cancel it first.");
        return Err(pending.with_code("order.pending"));
    }
    change_status::archive(&state.app, &order.id).await.map_err(Problem::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new status of an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusUpdate {
    /// processing, shipped, delivered or cancelled.
    status: String,
}

/// Changes the status of an order.
///
/// An order goes from confirmed to processing, shipped and delivered, one step at a time; other changes are refused with
/// 409. `cancelled` cancels the order. Customers may only cancel.
#[utoipa::path(put, path = "/api/orders/{id}/status", operation_id = "setOrderStatus", tag = "orders",
    request_body = StatusUpdate,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Order, description = "The order"),
        (status = 202, body = OrderInProgress, description = "The cancellation is still in progress; see `status_url`"),
        (status = 409, description = "The status cannot follow the present one, or the order was changed meanwhile"),
        (status = 422, description = "Unknown status")))]
pub(super) async fn set_status(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<StatusUpdate>,
) -> Result<Response, Problem> {
    let to = Status::parse(&new.status).ok_or_else(|| {
        let all = Status::ALL.map(Status::as_str).join(", ");
        Problem::invalid("status", "enum", format!("one of {all}"))
    })?;
    if to != Status::Cancelled {
        require_staff(&caller, "change an order's status")?;
    }
    require_user(&caller)?;
    let order = find(&state, &caller, &id).await?;
    check_if_match(&headers, order.version)?;
    if to == order.status {
        return Ok(response::order(StatusCode::OK, &order));
    }
    if to == Status::Cancelled {
        return cancel_order(&state, &caller, &order, None).await;
    }
    let changed = change_status::change_status(&state.app, &order, to, &caller.actor()).await.map_err(Problem::from)?;
    Ok(response::order(StatusCode::OK, &changed))
}

/// Changes to an order; missing fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"metadata": {"reference": "B-77"}, "notes": null}))]
pub(crate) struct OrderPatch {
    /// Replaces all discounts and fees. Only for an order on account without returns; refused with 409 otherwise.
    #[serde(default)]
    adjustments: Option<Vec<Adjustment>>,
    /// Entries to set; null removes an entry. At most 20 entries remain.
    #[serde(default)]
    metadata: BTreeMap<String, Option<String>>,
    /// New notes of at most 2,000 characters; null removes them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    notes: Option<Option<String>>,
}

/// Reads null as `Some(None)`, so that it differs from a missing field.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Amends an order: its adjustments, metadata and notes.
///
/// For staff. Refused with 422 when the total would be negative.
#[utoipa::path(patch, path = "/api/orders/{id}", operation_id = "amendOrder", tag = "orders", request_body = OrderPatch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Order, description = "The amended order"),
        (status = 403, description = "The caller is not staff"),
        (status = 409, description = "The total is final, or the order was changed meanwhile")))]
pub(super) async fn amend(
    State(state): State<ApiState>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(patch): Json<OrderPatch>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    check_adjustments(&mut errors, patch.adjustments.as_deref().unwrap_or_default());
    let empty = String::new();
    let entries = patch.metadata.iter().map(|(name, value)| (name, value.as_ref().unwrap_or(&empty)));
    check_metadata(&mut errors, entries);
    if let Some(Some(notes)) = &patch.notes {
        errors.extend(check_text("notes", notes, 0..=2_000));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let order = find(&state, &caller, &id).await?;
    check_if_match(&headers, order.version)?;
    let kept = order.metadata.keys().filter(|name| !patch.metadata.contains_key(*name)).count();
    if kept + patch.metadata.values().flatten().count() > 20 {
        return Err(Problem::invalid("metadata", "length", "at most 20 entries"));
    }
    let amendment = Amendment { adjustments: patch.adjustments, metadata: patch.metadata, notes: patch.notes };
    let amended = amend::amend(&state.app, &order, amendment, &caller.actor()).await.map_err(Problem::from)?;
    Ok(response::order(StatusCode::OK, &amended))
}

/// A cancellation of an order.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelRequest {
    /// The reason, 1 to 500 characters; it becomes the order's `reason`.
    #[serde(default)]
    reason: Option<String>,
}

/// Cancels an order: the payment is voided, and the stock is released or put back.
///
/// Refused with 409 once the order is shipped or has returns. Answers with 202 when undoing the order takes longer than
/// the request waits.
#[utoipa::path(post, path = "/api/orders/{id}/cancel", operation_id = "cancelOrder", tag = "orders",
    request_body = Option<CancelRequest>,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Order, description = "The cancelled order"),
        (status = 202, body = OrderInProgress, description = "The order is still in progress; see `status_url`"),
        (status = 409, description = "The order is shipped or has returns")))]
pub(super) async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    OptionalJson(request): OptionalJson<CancelRequest>,
) -> Result<Response, Problem> {
    require_user(&caller)?;
    let reason = request.unwrap_or_default().reason;
    if let Some(reason) = &reason {
        let mut errors: Vec<FieldError> = Vec::new();
        errors.extend(check_text("reason", reason, 1..=500));
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
    }
    let order = find(&state, &caller, &id).await?;
    check_if_match(&headers, order.version)?;
    cancel_order(&state, &caller, &order, reason).await
}

async fn cancel_order(
    state: &ApiState,
    caller: &Caller,
    order: &Order,
    reason: Option<String>,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + state.app.checkout_timeout();
    let order = match cancel::cancel(&state.app, &order.id, &caller.actor(), reason).await.map_err(Problem::from)? {
        Cancellation::Already(order) => *order,
        Cancellation::Decided => wait_until_idle(&state.app, &order.id, deadline).await.map_err(Problem::from)?,
    };
    if order.status == Status::Cancelled {
        Ok(response::order(StatusCode::OK, &order))
    } else {
        Ok(in_progress(order.id, order.state, order.status))
    }
}
