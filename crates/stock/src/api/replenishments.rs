//! `/api/stock/replenishments`: goods that one place asks of another.

use auth::{AdminOnly, Allow, Caller, Role, Staff};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Path, Problem, Query};
use commerce::{
    Id, PlaceId, ProductId, Timestamp,
    page::{Page, PageQuery},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Api, MAX_PIECES, keyed, page_problem, reason_error, require_place_access, unknown_product_error};
use crate::{
    domain::{Replenishment, ReplenishmentStage, ReplenishmentStep, StockKey, Transition},
    error::Error,
    replenish::Request,
    store::{
        idempotency::KeyedRequest,
        replenishments::{self, Wanted},
    },
};

/// What is asked for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"product_id": "TEA-ASSAM-250", "place_id": "store-1", "quantity": 24}))]
pub(crate) struct NewReplenishment {
    /// Chosen by the caller: a repeat asks for nothing more. Made if not given.
    #[serde(default)]
    id: Option<String>,
    product_id: String,
    /// Where the goods are to go.
    place_id: String,
    /// Where they come from; the logistics centre if not said.
    #[serde(default)]
    from_place_id: Option<String>,
    /// Pieces, at least 1.
    quantity: i64,
    /// Why.
    #[serde(default)]
    reason: Option<String>,
}

/// Why not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefusal {
    reason: String,
}

/// What was counted on arrival.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"quantity": 22, "last": true}))]
pub(crate) struct NewReceipt {
    /// Pieces counted, from 0.
    quantity: i64,
    /// No more will come: what is missing is booked as a difference. So it is anyway when all have come.
    #[serde(default)]
    last: bool,
}

/// A request for goods and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replenishment)]
pub(crate) struct ReplenishmentBody {
    id: String,
    /// Counts them from 1.
    number: i64,
    product_id: ProductId,
    from_place_id: PlaceId,
    /// Where the goods go.
    place_id: PlaceId,
    /// Pieces asked for.
    quantity: i64,
    stage: ReplenishmentStage,
    /// Pieces that left.
    shipped: i64,
    /// Pieces counted on arrival so far.
    received: i64,
    /// Pieces that belong to neither place now.
    in_transit: i64,
    /// Pieces counted more (below zero: less) than had left, once all is received.
    difference: i64,
    /// Made because the level was below its threshold.
    automatic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    history: Vec<ReplenishmentStep>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Counts changes.
    version: i64,
}

impl From<Replenishment> for ReplenishmentBody {
    fn from(one: Replenishment) -> Self {
        Self {
            number: one.number,
            quantity: one.quantity,
            stage: one.stage,
            shipped: one.shipped,
            received: one.received,
            in_transit: one.in_transit(),
            difference: one.difference(),
            automatic: one.automatic,
            created_at: one.created_at,
            updated_at: one.updated_at,
            version: one.sequence,
            id: one.id,
            product_id: one.product_id,
            from_place_id: one.from,
            place_id: one.to,
            reason: one.reason,
            history: one.history,
        }
    }
}

/// Which are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReplenishmentQuery {
    /// requested, approved, refused, in_transit or received.
    stage: Option<ReplenishmentStage>,
    /// Of this product.
    product_id: Option<String>,
    /// To this place.
    place_id: Option<String>,
    /// The one of this number.
    number: Option<i64>,
    /// Rows wanted, 1 to 100; 20 if not said.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Numbered page, from 1.
    page: Option<u32>,
    /// Whether the answer tells the `total`.
    include_total: Option<bool>,
}

/// Replenishments, newest first; staff see those that go to or come from their stores.
#[utoipa::path(get, path = "/api/stock/replenishments", params(ReplenishmentQuery), responses((status = 200, body = Page<ReplenishmentBody>)), tag = "replenishment")]
pub(crate) async fn list_replenishments(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Query(query): Query<ReplenishmentQuery>,
) -> Result<Json<Page<ReplenishmentBody>>, Problem> {
    let wanted = Wanted {
        stage: query.stage,
        product_id: query.product_id,
        place_id: query.place_id,
        number: query.number,
        places: (!caller.is_admin()).then(|| caller.stores.clone()),
    };
    let page =
        PageQuery { limit: query.limit, cursor: query.cursor, page: query.page, include_total: query.include_total };
    let paging = page.page_request(&api.cursors.replenishments).map_err(page_problem)?;
    let read = async {
        let mut tx = api.db.snapshot().await?;
        let rows = replenishments::list(&mut tx, &wanted, &paging).await?;
        let total = if paging.include_total { Some(replenishments::count(&mut tx, &wanted).await?) } else { None };
        Ok::<_, Error>((rows, total))
    };
    let (rows, total) = read.await.map_err(Problem::from)?;
    let rows = rows.into_iter().map(ReplenishmentBody::from).collect();
    Ok(Json(paging.page(&api.cursors.replenishments, rows, total, |row: &ReplenishmentBody| row.number)))
}

/// One replenishment.
#[utoipa::path(get, path = "/api/stock/replenishments/{id}", params(("id" = String, Path)), responses((status = 200, body = ReplenishmentBody), (status = 404)), tag = "replenishment")]
pub(crate) async fn get_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    Ok(Json(visible(&api, &caller, &id).await?.into()))
}

/// Asks for goods: staff of the place that they go to.
#[utoipa::path(post, path = "/api/stock/replenishments", request_body = NewReplenishment,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = ReplenishmentBody), (status = 403), (status = 409), (status = 422), (status = 503)), tag = "replenishment")]
pub(crate) async fn request_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    headers: HeaderMap,
    Json(new): Json<NewReplenishment>,
) -> Result<Response, Problem> {
    let keyed = keyed(&headers, &caller, "POST /api/stock/replenishments", &new)?;
    require_place_access(&caller, &new.place_id)?;
    let request = checked(&api, new, &caller.actor())?;
    let missing = api.catalogue.missing([&request.key.product_id].into()).await?;
    if !missing.is_empty() {
        return Err(Problem::fields(vec![unknown_product_error("", &request.key.product_id)]));
    }
    let made = api.executor.request(&request, keyed.as_ref()).await.map_err(of_field)?;
    Ok((StatusCode::CREATED, Json(ReplenishmentBody::from(made))).into_response())
}

/// Head office says yes.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/approve", params(("id" = String, Path)), responses((status = 200, body = ReplenishmentBody), (status = 404), (status = 409)), tag = "replenishment")]
pub(crate) async fn approve_replenishment(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    advance(&api, &id, &Transition::Approve, &caller, None).await
}

/// Head office says no, and why.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/refuse", params(("id" = String, Path)), request_body = NewRefusal, responses((status = 200, body = ReplenishmentBody), (status = 404), (status = 409), (status = 422)), tag = "replenishment")]
pub(crate) async fn refuse_replenishment(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
    Json(refusal): Json<NewRefusal>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    if let Some(wrong) = reason_error("", &refusal.reason) {
        return Err(Problem::fields(vec![wrong]));
    }
    advance(&api, &id, &Transition::Refuse { reason: refusal.reason }, &caller, None).await
}

/// The goods leave: staff of the place that they come from.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/dispatch", params(("id" = String, Path)), responses((status = 200, body = ReplenishmentBody), (status = 404), (status = 409, description = "Not approved, or not enough there")), tag = "replenishment")]
pub(crate) async fn dispatch_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    let one = visible(&api, &caller, &id).await?;
    require_place_access(&caller, one.from.as_str())?;
    advance(&api, &id, &Transition::Dispatch, &caller, None).await
}

/// Goods have come: staff of the place that they go to.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/receive", params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "So that what is sent twice is not counted twice")), request_body = NewReceipt, responses((status = 200, body = ReplenishmentBody), (status = 404), (status = 409), (status = 422)), tag = "replenishment")]
pub(crate) async fn receive_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(receipt): Json<NewReceipt>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    let one = visible(&api, &caller, &id).await?;
    require_place_access(&caller, one.to.as_str())?;
    let keyed = keyed(&headers, &caller, "POST /api/stock/replenishments/{id}/receive", &(&id, &receipt))?;
    let NewReceipt { quantity, last } = receipt;
    if !(0..=MAX_PIECES).contains(&quantity) || (quantity == 0 && !last) {
        return Err(Problem::invalid("quantity", "range", "from 1, or 0 where `last` says that nothing more comes"));
    }
    // What comes to more or less than had left is put in or written off, which a clerk may not do.
    let may_differ = caller.is_admin() || caller.is(Role::Manager);
    advance(&api, &id, &Transition::Receive { quantity, last, may_differ }, &caller, keyed).await
}

async fn advance(
    api: &Api,
    id: &str,
    wanted: &Transition,
    caller: &Caller,
    keyed: Option<KeyedRequest>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    let moved = api.executor.advance(id, wanted, &caller.actor(), keyed.as_ref()).await?;
    Ok(Json(moved.into()))
}

/// One that the caller may see: it goes to or comes from where he works.
async fn visible(api: &Api, caller: &Caller, id: &str) -> Result<Replenishment, Problem> {
    let read = async {
        let mut tx = api.db.read().await?;
        replenishments::get(&mut tx, id).await
    };
    let one = read.await.map_err(Problem::from)?;
    one.filter(|one| caller.may_act_in(one.to.as_str()) || caller.may_act_in(one.from.as_str()))
        .ok_or_else(|| Problem::not_found("replenishment"))
}

fn checked(api: &Api, new: NewReplenishment, actor: &str) -> Result<Request, Problem> {
    let mut errors = Vec::new();
    if !(1..=MAX_PIECES).contains(&new.quantity) {
        errors.push(FieldError::new("quantity", "range", format!("from 1 to {MAX_PIECES}")));
    }
    errors.extend(new.reason.as_deref().and_then(|reason| reason_error("", reason)));
    let id = new.id.as_deref().map(Id::<()>::parse).transpose();
    let product_id = ProductId::parse(&new.product_id);
    let to = PlaceId::parse(&new.place_id);
    let from = new.from_place_id.as_deref().map_or_else(|| Ok(api.logistics.clone()), PlaceId::parse);
    for (field, wrong) in [
        ("id", id.as_ref().err()),
        ("product_id", product_id.as_ref().err()),
        ("place_id", to.as_ref().err()),
        ("from_place_id", from.as_ref().err()),
    ] {
        if let Some(wrong) = wrong {
            errors.push(FieldError::new(field, "id", wrong.to_string()));
        }
    }
    if from.as_ref().is_ok_and(|from| to.as_ref() == Ok(from)) {
        errors.push(FieldError::new("place_id", "different", "not the place that the goods come from"));
    }
    match (id, product_id, to, from) {
        (Ok(id), Ok(product_id), Ok(place_id), Ok(from)) if errors.is_empty() => Ok(Request {
            id: id.map(|id| id.to_string()),
            from,
            key: StockKey { place_id, product_id },
            quantity: new.quantity,
            reason: new.reason,
            actor: actor.to_owned(),
        }),
        _ => Err(Problem::fields(errors)),
    }
}

/// A place in a body that there is not is a field's mistake.
fn of_field(err: Error) -> Problem {
    match err {
        Error::UnknownPlace(_) => Problem::invalid("place_id", "exists", err.to_string()),
        err => err.into(),
    }
}
