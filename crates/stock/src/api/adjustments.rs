//! `/api/stock/adjustments`: what is put in and taken out by hand.

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

use super::{Api, MAX_PIECES, keyed, reason_error, require_place_access, unknown_product_error};
use crate::{
    commands::{Command, Outcome},
    domain::{Adjustment, AdjustmentRejection, AdjustmentRequest, StockKey},
    error::Error,
    store::{
        idempotency::{self, KeyedRequest},
        unit_of_work,
    },
};

/// Most adjustments of one call.
const MAX_ADJUSTMENTS: usize = 1_000;

/// What is to be put in (above zero) or taken out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdjustment {
    /// Chosen by the caller: a repeat changes nothing. Made if not given.
    #[serde(default)]
    id: Option<String>,
    product_id: String,
    place_id: String,
    delta: i64,
    reason: String,
}

/// Many adjustments, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdjustments {
    /// 1 to 1,000, each with its id.
    adjustments: Vec<NewAdjustment>,
}

/// What was put in or taken out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustment)]
pub(crate) struct AdjustmentBody {
    id: String,
    product_id: ProductId,
    place_id: PlaceId,
    delta: i64,
    reason: String,
    /// On hand after it.
    balance: i64,
    actor: String,
    at: Timestamp,
}

/// Many of them.
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

/// Puts goods in or takes them out. For admins, and managers of the place.
#[utoipa::path(post, path = "/api/stock/adjustments", request_body = NewAdjustment, responses((status = 201, body = AdjustmentBody), (status = 409), (status = 422), (status = 503)), tag = "stock")]
pub(crate) async fn create_adjustment(
    State(api): State<Api>,
    caller: Allow<ManagerOrAdmin>,
    headers: HeaderMap,
    Json(new): Json<NewAdjustment>,
) -> Result<Response, Problem> {
    let keyed = keyed(&headers, &caller, "POST /api/stock/adjustments", &new)?;
    require_place_access(&caller, &new.place_id)?;
    let mut errors = Vec::new();
    let request = request(new, "", &caller.actor(), &mut errors);
    let Some(request) = request.filter(|_| errors.is_empty()) else {
        return Err(Problem::fields(errors));
    };
    let requests = vec![request];
    require_known_products(&api, &requests, keyed.as_ref(), |_| String::new()).await?;
    let mut done = adjust(&api, requests, keyed).await?;
    let body = done.pop().map(AdjustmentBody::from);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Does many adjustments, all or none. For admins.
#[utoipa::path(post, path = "/api/stock/adjustments/batch", request_body = NewAdjustments, responses((status = 201, body = Adjustments), (status = 409), (status = 422), (status = 503)), tag = "stock")]
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
    for (n, new) in new.adjustments.into_iter().enumerate() {
        let prefix = prefix(n);
        if new.id.is_none() {
            errors.push(FieldError::new(format!("{prefix}id"), "required", "so that a repeat changes nothing"));
        }
        requests.extend(request(new, &prefix, &caller.actor(), &mut errors));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    require_known_products(&api, &requests, None, prefix).await?;
    let done = adjust(&api, requests, None).await.map_err(placed)?;
    let body = Adjustments { data: done.into_iter().map(Into::into).collect() };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Where the fields of one of many stand.
fn prefix(n: usize) -> String {
    format!("adjustments[{n}].")
}

/// Refuses products that the catalogue does not hold. What was done before is not asked about: a repeat hears
/// its first answer, whatever has become of the product or its service.
async fn require_known_products(
    api: &Api,
    requests: &[AdjustmentRequest],
    keyed: Option<&KeyedRequest>,
    prefix: impl Fn(usize) -> String,
) -> Result<(), Problem> {
    let done = async {
        let mut tx = api.db.read().await?;
        if let Some(keyed) = keyed
            && idempotency::find(&mut tx, keyed).await?.is_some()
        {
            return Ok(None);
        }
        unit_of_work::known_adjustments(&mut tx, requests.iter().map(|request| request.id.as_str())).await.map(Some)
    };
    let Some(done) = done.await.map_err(|err: Error| Problem::from(err))? else {
        return Ok(());
    };
    // What is there may be written off, also when the catalogue no longer sells it.
    let new = || requests.iter().enumerate().filter(|(_, request)| request.delta > 0 && !done.contains(&request.id));
    let missing = api.catalogue.missing(new().map(|(_, request)| &request.key.product_id).collect()).await?;
    let errors: Vec<FieldError> = new()
        .filter(|(_, request)| missing.contains(&request.key.product_id))
        .map(|(n, request)| unknown_product_error(&prefix(n), &request.key.product_id))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

async fn adjust(
    api: &Api,
    requests: Vec<AdjustmentRequest>,
    keyed: Option<KeyedRequest>,
) -> Result<Vec<Adjustment>, Error> {
    match api.queue.one(Command::Adjust(requests, keyed)).await? {
        Outcome::Adjusted(done) => done,
        _ => Err(Error::Corrupt("answer")),
    }
}

/// Names the one of many that cannot be.
fn placed(err: Error) -> Problem {
    let index = match &err {
        Error::Rejected(AdjustmentRejection::UnknownPlace { index, .. }) => {
            let field = format!("adjustments[{index}].place_id");
            return Problem::invalid(&field, "exists", err.to_string());
        }
        Error::Rejected(AdjustmentRejection::BelowReserved { index, .. }) => Some(*index),
        _ => None,
    };
    let problem = Problem::from(err);
    match index {
        Some(index) => problem.with("index", index),
        None => problem,
    }
}

fn request(new: NewAdjustment, prefix: &str, actor: &str, errors: &mut Vec<FieldError>) -> Option<AdjustmentRequest> {
    errors.extend(reason_error(prefix, &new.reason));
    let mut wrong = |field: &str, rule: &str, message: String| {
        errors.push(FieldError::new(format!("{prefix}{field}"), rule, message));
    };
    if new.delta == 0 || !(-MAX_PIECES..=MAX_PIECES).contains(&new.delta) {
        wrong("delta", "range", format!("not 0, and at most {MAX_PIECES} either way"));
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
            wrong(field, "id", err.to_string());
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
