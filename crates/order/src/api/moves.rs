//! Moving an order along its life, cancelling it, hiding it.

use std::collections::BTreeMap;

use auth::{AdminOnly, Allow, Caller, Staff};
use axum::{extract::State as AxumState, response::Response};
use chassis::{FieldError, Json, Kind, OptionalJson, Path, Problem};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    State, if_match,
    orders::{Running, check_metadata, find, running},
    people_only, request, staff_only,
};
use crate::{
    amend::Amendment,
    cancel::Cancelled,
    domain::{Adjustment, Order, Status},
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

/// What is to be amended of an order; what is not said stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"metadata": {"reference": "B-77"}, "notes": null}))]
pub(crate) struct NewAmendment {
    /// All adjustments from now on; only of an order on account.
    #[serde(default)]
    adjustments: Option<Vec<Adjustment>>,
    /// Entries to be set; null takes one away.
    #[serde(default)]
    metadata: BTreeMap<String, Option<String>>,
    /// At most 2,000 characters; null takes them away.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    notes: Option<Option<String>>,
}

/// Tells null from what is not said.
fn said<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Amends an order: its total by other adjustments, as long as nobody was charged, and what is kept with it. For staff.
#[utoipa::path(patch, path = "/api/orders/{id}", tag = "orders", request_body = NewAmendment,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 403), (status = 404), (status = 409), (status = 412), (status = 422)))]
pub(super) async fn amend(
    AxumState(state): AxumState<State>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewAmendment>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    for (position, adjustment) in new.adjustments.iter().flatten().enumerate() {
        request::text(&mut errors, &format!("adjustments[{position}].label"), &adjustment.label, 1..=200);
    }
    if new.adjustments.as_ref().is_some_and(|adjustments| adjustments.len() > 100) {
        errors.push(FieldError::new("adjustments", "length", "at most 100"));
    }
    let empty = String::new();
    let entries = new.metadata.iter().map(|(name, value)| (name, value.as_ref().unwrap_or(&empty)));
    check_metadata(&mut errors, entries);
    if let Some(Some(notes)) = &new.notes {
        request::text(&mut errors, "notes", notes, 0..=2_000);
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let order = find(&state, &caller, &id).await?;
    if_match(&headers, order.version)?;
    let kept = order.metadata.keys().filter(|name| !new.metadata.contains_key(*name)).count();
    if kept + new.metadata.values().flatten().count() > 20 {
        return Err(Problem::invalid("metadata", "length", "at most 20 entries"));
    }
    let amendment = Amendment { adjustments: new.adjustments, metadata: new.metadata, notes: new.notes };
    let amended = state.checkout.amend(order, amendment, &caller.actor()).await.map_err(Problem::from)?;
    Ok(request::order_response(StatusCode::OK, &amended))
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
