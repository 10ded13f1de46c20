//! `/api/stock/adjustments`: manual changes of levels.

use auth::{AdminOnly, Allow, ManagerOrAdmin};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Problem};
use commerce::{Id, PlaceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, MAX_PIECES, reason_error, require_place_access, unknown_product_error};
use idempotency::KeyedRequest;

use crate::{
    domain::{Adjustment, AdjustmentRejection, AdjustmentRequest, StockKey},
    error::Error,
    store::{idempotency_keys, unit_of_work},
};

/// Most adjustments of one call.
const MAX_ADJUSTMENTS: usize = 1_000;

/// A manual change of the pieces on hand of a product in a place.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"product_id": "TEA-ASSAM-250", "place_id": "store-1", "delta": -2, "reason": "broken"}))]
pub(crate) struct NewAdjustment {
    /// Chosen by the caller, 1 to 64 characters: a repeat with the same id changes nothing. Generated if absent.
    #[serde(default)]
    id: Option<String>,
    product_id: String,
    place_id: String,
    /// Pieces to put in (above 0) or to take out (below 0), at most 1,000,000,000 either way. Refused with 409 if fewer pieces
    /// than are reserved would be left.
    delta: i64,
    /// Why, for the ledger; 1 to 500 characters.
    reason: String,
}

/// A batch of adjustments: all are applied, or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdjustments {
    /// 1 to 1,000 adjustments. `Idempotency-Key` has no effect here, so send an `id` with each to repeat the request safely.
    adjustments: Vec<NewAdjustment>,
}

/// An applied adjustment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustment)]
pub(crate) struct AdjustmentBody {
    id: String,
    product_id: ProductId,
    place_id: PlaceId,
    /// Pieces put in (above 0) or taken out (below 0).
    delta: i64,
    reason: String,
    /// Pieces on hand after the adjustment.
    balance: i64,
    /// Who made it.
    actor: String,
    at: Timestamp,
}

/// The applied adjustments, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Adjustments {
    data: Vec<AdjustmentBody>,
}

impl From<Adjustment> for AdjustmentBody {
    fn from(adjustment: Adjustment) -> Self {
        let Adjustment { request, balance, at } = adjustment;
        Self {
            id: request.id,
            product_id: request.key.product_id,
            place_id: request.key.place_id,
            delta: request.delta,
            reason: request.reason,
            balance,
            actor: request.actor,
            at,
        }
    }
}

/// Adjust a level
///
/// Puts pieces in or takes them out, with an entry in the ledger. For admins, and managers of the place.
#[utoipa::path(post, path = "/api/stock/adjustments", operation_id = "adjustStock",
    request_body = NewAdjustment,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = AdjustmentBody),
        (status = 409, description = "Fewer pieces than are reserved would be left, or the id was used for another adjustment"),
        (status = 422, description = "A field breaks a rule, or the product or place does not exist"),
        (status = 503, description = "The product service did not answer")),
    tag = "stock")]
pub(crate) async fn create_adjustment(
    State(api): State<Api>,
    caller: Allow<ManagerOrAdmin>,
    headers: HeaderMap,
    Json(new): Json<NewAdjustment>,
) -> Result<Response, Problem> {
    let keyed = KeyedRequest::from_headers(&headers, &caller.subject, "POST /api/stock/adjustments", &new)?;
    require_place_access(&caller, &new.place_id)?;
    let mut errors = Vec::new();
    let request = parse_request(new, "", &caller.actor(), &mut errors);
    let Some(request) = request.filter(|_| errors.is_empty()) else {
        return Err(Problem::fields(errors));
    };
    let requests = vec![request];
    require_known_products(&api, &requests, keyed.as_ref(), |_| String::new()).await?;
    let mut applied = api.queue.adjust(requests, keyed).await?;
    let body = applied.pop().map(AdjustmentBody::from);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Adjust many levels
///
/// Applies all adjustments, or none. A problem names the one that is refused by `index`. For admins.
#[utoipa::path(post, path = "/api/stock/adjustments/batch", operation_id = "adjustStockBatch",
    request_body = NewAdjustments,
    responses((status = 201, body = Adjustments),
        (status = 409, description = "Fewer pieces than are reserved would be left, or an id was used for another adjustment"),
        (status = 422, description = "A field breaks a rule, or a product or place does not exist"),
        (status = 503, description = "The product service did not answer")),
    tag = "stock")]
pub(crate) async fn create_adjustments(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    Json(new): Json<NewAdjustments>,
) -> Result<Response, Problem> {
    if !(1..=MAX_ADJUSTMENTS).contains(&new.adjustments.len()) {
        return Err(Problem::invalid("adjustments", "length", format!("1 to {MAX_ADJUSTMENTS} at once")));
    }
    let mut errors = Vec::new();
    let mut requests = Vec::with_capacity(new.adjustments.len());
    for (index, new) in new.adjustments.into_iter().enumerate() {
        let prefix = field_prefix(index);
        if new.id.is_none() {
            errors.push(FieldError::new(format!("{prefix}id"), "required", "so that a repeat changes nothing"));
        }
        requests.extend(parse_request(new, &prefix, &caller.actor(), &mut errors));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    require_known_products(&api, &requests, None, field_prefix).await?;
    let applied = api.queue.adjust(requests, None).await.map_err(with_index)?;
    let body = Adjustments { data: applied.into_iter().map(Into::into).collect() };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The path of the fields of one adjustment in a batch.
fn field_prefix(index: usize) -> String {
    format!("adjustments[{index}].")
}

/// Refuses products that the catalogue does not contain. A repeat is not checked: it gets the first response, even if the
/// product was deleted or the product service is unreachable.
async fn require_known_products(
    api: &Api,
    requests: &[AdjustmentRequest],
    keyed: Option<&KeyedRequest>,
    field_prefix: impl Fn(usize) -> String,
) -> Result<(), Problem> {
    let applied = async {
        let mut tx = api.db.read().await?;
        if idempotency_keys::find(&mut tx, keyed).await?.is_some() {
            return Ok(None);
        }
        unit_of_work::known_adjustments(&mut tx, requests.iter().map(|request| request.id.as_str())).await.map(Some)
    };
    let Some(applied) = applied.await.map_err(|err: Error| Problem::from(err))? else {
        return Ok(());
    };
    // Pieces of a product that is no longer in the catalogue can still be written off.
    let new = || requests.iter().enumerate().filter(|(_, request)| request.delta > 0 && !applied.contains(&request.id));
    let missing = api.catalogue.missing(new().map(|(_, request)| &request.key.product_id).collect()).await?;
    let errors: Vec<FieldError> = new()
        .filter(|(_, request)| missing.contains(&request.key.product_id))
        .map(|(index, request)| unknown_product_error(&field_prefix(index), &request.key.product_id))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

/// Adds the index of the refused adjustment of a batch.
fn with_index(err: Error) -> Problem {
    let index = match &err {
        Error::Adjustment(AdjustmentRejection::UnknownPlace { index, .. }) => {
            let field = format!("{}place_id", field_prefix(*index));
            return Problem::invalid(&field, "exists", err.to_string());
        }
        Error::Adjustment(AdjustmentRejection::BelowReserved { index, .. }) => Some(*index),
        _ => None,
    };
    let problem = Problem::from(err);
    match index {
        Some(index) => problem.with("index", index),
        None => problem,
    }
}

fn parse_request(
    new: NewAdjustment,
    prefix: &str,
    actor: &str,
    errors: &mut Vec<FieldError>,
) -> Option<AdjustmentRequest> {
    errors.extend(reason_error(prefix, &new.reason));
    let mut add_error = |field: &str, rule: &str, message: String| {
        errors.push(FieldError::new(format!("{prefix}{field}"), rule, message));
    };
    if new.delta == 0 || !(-MAX_PIECES..=MAX_PIECES).contains(&new.delta) {
        add_error("delta", "range", format!("not 0, and at most {MAX_PIECES} either way"));
    }
    let id = match new.id {
        None => Ok(Id::<()>::new()),
        Some(id) => Id::parse(&id),
    };
    let (id, product_id, place_id) = (id, ProductId::parse(&new.product_id), PlaceId::parse(&new.place_id));
    for (field, err) in
        [("id", id.as_ref().err()), ("product_id", product_id.as_ref().err()), ("place_id", place_id.as_ref().err())]
    {
        if let Some(err) = err {
            add_error(field, "id", err.to_string());
        }
    }
    Some(AdjustmentRequest {
        id: id.ok()?.to_string(),
        key: StockKey { place_id: place_id.ok()?, product_id: product_id.ok()? },
        delta: new.delta,
        reason: new.reason,
        actor: actor.to_owned(),
    })
}
