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

use super::{Api, MOST_PIECES, asked, demand_place, unknown_product, wrong_reason};
use crate::{
    domain::{Adjustment, Rejection, Slot, Wish},
    error::Error,
    operate::{Answer, Task},
    store::{
        answers::{self, Asked},
        books,
    },
};

/// Most adjustments of one call.
const MOST: usize = 1_000;

/// What is to be put in (above zero) or taken out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdjustment {
    /// DeadLetterFilter by the caller: a repeat changes nothing. Made if not given.
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
        let Adjustment { wish, balance, at } = adjustment;
        Self {
            id: wish.id,
            product_id: wish.slot.product_id,
            place_id: wish.slot.place_id,
            delta: wish.delta,
            reason: wish.reason,
            balance,
            actor: wish.actor,
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
    let asked = asked(&headers, &caller, "POST /api/stock/adjustments", &new)?;
    demand_place(&caller, &new.place_id)?;
    let mut errors = Vec::new();
    let wish = wish(new, "", &caller.actor(), &mut errors);
    let Some(wish) = wish.filter(|_| errors.is_empty()) else {
        return Err(Problem::fields(errors));
    };
    let wishes = vec![wish];
    demand_products(&api, &wishes, asked.as_ref(), |_| String::new()).await?;
    let mut done = adjust(&api, wishes, asked).await?;
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
    if !(1..=MOST).contains(&new.adjustments.len()) {
        return Err(Problem::invalid("adjustments", "length", format!("1 to {MOST} at once")));
    }
    let mut errors = Vec::new();
    let mut wishes = Vec::with_capacity(new.adjustments.len());
    for (n, new) in new.adjustments.into_iter().enumerate() {
        let prefix = prefix(n);
        if new.id.is_none() {
            errors.push(FieldError::new(format!("{prefix}id"), "required", "so that a repeat changes nothing"));
        }
        wishes.extend(wish(new, &prefix, &caller.actor(), &mut errors));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    demand_products(&api, &wishes, None, prefix).await?;
    let done = adjust(&api, wishes, None).await.map_err(placed)?;
    let body = Adjustments { data: done.into_iter().map(Into::into).collect() };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Where the fields of one of many stand.
fn prefix(n: usize) -> String {
    format!("adjustments[{n}].")
}

/// Refuses products that the catalogue does not hold. What was done before is not asked about: a repeat hears
/// its first answer, whatever has become of the product or its service.
async fn demand_products(
    api: &Api,
    wishes: &[Wish],
    asked: Option<&Asked>,
    prefix: impl Fn(usize) -> String,
) -> Result<(), Problem> {
    let done = async {
        let mut tx = api.db.read().await?;
        if let Some(asked) = asked
            && answers::find(&mut tx, asked).await?.is_some()
        {
            return Ok(None);
        }
        books::known_adjustments(&mut tx, wishes.iter().map(|wish| wish.id.as_str())).await.map(Some)
    };
    let Some(done) = done.await.map_err(|err: Error| Problem::from(err))? else {
        return Ok(());
    };
    // What is there may be written off, also when the catalogue no longer sells it.
    let new = || wishes.iter().enumerate().filter(|(_, wish)| wish.delta > 0 && !done.contains(&wish.id));
    let missing = api.catalogue.missing(new().map(|(_, wish)| &wish.slot.product_id).collect()).await?;
    let errors: Vec<FieldError> = new()
        .filter(|(_, wish)| missing.contains(&wish.slot.product_id))
        .map(|(n, wish)| unknown_product(&prefix(n), &wish.slot.product_id))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

async fn adjust(api: &Api, wishes: Vec<Wish>, asked: Option<Asked>) -> Result<Vec<Adjustment>, Error> {
    match api.counter.one(Task::Adjust(wishes, asked)).await? {
        Answer::Adjusted(done) => done,
        _ => Err(Error::Corrupt("answer")),
    }
}

/// Names the one of many that cannot be.
fn placed(err: Error) -> Problem {
    let index = match &err {
        Error::Rejected(Rejection::UnknownPlace { index, .. }) => {
            let field = format!("adjustments[{index}].place_id");
            return Problem::invalid(&field, "exists", err.to_string());
        }
        Error::Rejected(Rejection::BelowReserved { index, .. }) => Some(*index),
        _ => None,
    };
    let problem = Problem::from(err);
    match index {
        Some(index) => problem.with("index", index),
        None => problem,
    }
}

fn wish(new: NewAdjustment, prefix: &str, actor: &str, errors: &mut Vec<FieldError>) -> Option<Wish> {
    errors.extend(wrong_reason(prefix, &new.reason));
    let mut wrong = |field: &str, rule: &str, message: String| {
        errors.push(FieldError::new(format!("{prefix}{field}"), rule, message));
    };
    if new.delta == 0 || !(-MOST_PIECES..=MOST_PIECES).contains(&new.delta) {
        wrong("delta", "range", format!("not 0, and at most {MOST_PIECES} either way"));
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
    Some(Wish {
        id: id.ok()?.to_string(),
        slot: Slot { place_id: place_id.ok()?, product_id: product_id.ok()? },
        delta: new.delta,
        reason: new.reason,
        actor: actor.to_owned(),
    })
}
