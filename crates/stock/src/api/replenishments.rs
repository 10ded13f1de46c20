//! `/api/stock/replenishments`: goods that a place requests from another one.

use auth::{AdminOnly, Allow, Caller, Role, Staff};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Path, Problem};
use commerce::{
    Id, PlaceId, ProductId, Timestamp,
    page::{Page, PageQuery},
};
use serde::{Deserialize, Serialize};
use service::{List, bad_page};
use utoipa::{IntoParams, ToSchema};

use super::{Api, MAX_PIECES, reason_error, require_place_access, unknown_product_error};
use idempotency::KeyedRequest;

use crate::{
    domain::{Replenishment, ReplenishmentStage, ReplenishmentStep, StockKey, Transition},
    error::Error,
    replenish::{self, ReplenishmentRequest},
    store::replenishments::{self, ReplenishmentFilter},
};

/// A request for goods.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"product_id": "TEA-ASSAM-250", "place_id": "store-1", "quantity": 24}))]
pub(crate) struct NewReplenishment {
    /// Chosen by the caller, 1 to 64 characters: a repeat with the same id requests nothing more. Generated if absent.
    #[serde(default)]
    id: Option<String>,
    product_id: String,
    /// The place that the goods go to.
    place_id: String,
    /// The place that the goods come from; the logistics centre by default.
    #[serde(default)]
    from_place_id: Option<String>,
    /// Pieces, from 1 to 1,000,000,000.
    quantity: i64,
    /// Why; 1 to 500 characters.
    #[serde(default)]
    reason: Option<String>,
}

/// The refusal of a request.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefusal {
    /// Why; 1 to 500 characters.
    reason: String,
}

/// A count of pieces on arrival.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"quantity": 22, "last": true}))]
pub(crate) struct NewReceipt {
    /// Pieces counted, from 1, or 0 with `last`; at most twice the pieces still to arrive, plus 100.
    quantity: i64,
    /// Whether no more pieces will arrive: the missing ones are booked as a difference. Implied when all have arrived.
    #[serde(default)]
    last: bool,
}

/// A request for goods, with its stage and history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replenishment)]
pub(crate) struct ReplenishmentBody {
    id: String,
    /// The number that people use, from 1.
    number: i64,
    product_id: ProductId,
    from_place_id: PlaceId,
    /// The place that the goods go to.
    place_id: PlaceId,
    /// Pieces requested.
    quantity: i64,
    stage: ReplenishmentStage,
    /// Pieces that have left.
    shipped: i64,
    /// Pieces counted on arrival so far.
    received: i64,
    /// Pieces that have left and not arrived; they count in no level.
    in_transit: i64,
    /// Once all are received: the pieces counted less the pieces that had left; below 0 if some are missing.
    difference: i64,
    /// Whether the service requested it, because the level was below its threshold.
    automatic: bool,
    /// Why it was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Its steps, oldest first.
    history: Vec<ReplenishmentStep>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// The number of changes, from 1.
    version: i64,
}

impl From<Replenishment> for ReplenishmentBody {
    fn from(replenishment: Replenishment) -> Self {
        Self {
            number: replenishment.number,
            quantity: replenishment.quantity,
            stage: replenishment.stage,
            shipped: replenishment.shipped,
            received: replenishment.received,
            in_transit: replenishment.in_transit(),
            difference: replenishment.difference(),
            automatic: replenishment.automatic,
            created_at: replenishment.created_at,
            updated_at: replenishment.updated_at,
            version: replenishment.sequence,
            id: replenishment.id,
            product_id: replenishment.product_id,
            from_place_id: replenishment.from,
            place_id: replenishment.to,
            reason: replenishment.reason,
            history: replenishment.history,
        }
    }
}

/// The filter of a list of replenishments.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListFilter {
    /// Replenishments in this stage.
    stage: Option<ReplenishmentStage>,
    /// Replenishments of this product.
    product_id: Option<String>,
    /// Replenishments to this place.
    place_id: Option<String>,
    /// The replenishment with this number.
    number: Option<i64>,
}

/// List replenishments
///
/// Newest first. For admins; staff see those to and from their places.
#[utoipa::path(get, path = "/api/stock/replenishments", operation_id = "listReplenishments", params(ListFilter, PageQuery),
    responses((status = 200, body = Page<ReplenishmentBody>)), tag = "replenishment")]
pub(crate) async fn list_replenishments(
    State(api): State<Api>,
    caller: Allow<Staff>,
    List { filter, paging }: List<ListFilter>,
) -> Result<Json<Page<ReplenishmentBody>>, Problem> {
    let filter = ReplenishmentFilter {
        stage: filter.stage,
        product_id: filter.product_id,
        place_id: filter.place_id,
        number: filter.number,
        places: (!caller.is_admin()).then(|| caller.stores.clone()),
    };
    let paging = paging.page_request(&api.cursors.replenishments).map_err(bad_page)?;
    let read = async {
        let mut tx = api.db.snapshot().await?;
        let rows = replenishments::list(&mut tx, &filter, &paging).await?;
        let total = if paging.include_total { Some(replenishments::count(&mut tx, &filter).await?) } else { None };
        Ok::<_, Error>((rows, total))
    };
    let (rows, total) = read.await.map_err(Problem::from)?;
    let rows = rows.into_iter().map(ReplenishmentBody::from).collect();
    Ok(Json(paging.page(&api.cursors.replenishments, rows, total, |row: &ReplenishmentBody| row.number)))
}

/// Get a replenishment
///
/// For admins, and staff of the two places.
#[utoipa::path(get, path = "/api/stock/replenishments/{id}", operation_id = "getReplenishment", params(("id" = String, Path)),
    responses((status = 200, body = ReplenishmentBody), (status = 404, description = "Not found, or neither place is the caller's")),
    tag = "replenishment")]
pub(crate) async fn get_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    Ok(Json(find_visible(&api, &caller, &id).await?.into()))
}

/// Request goods
///
/// For admins, and staff of the place that the goods go to.
#[utoipa::path(post, path = "/api/stock/replenishments", operation_id = "requestReplenishment", request_body = NewReplenishment,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; a repeat with the same key requests nothing more")),
    responses((status = 201, body = ReplenishmentBody), (status = 403, description = "The caller does not work in the place"),
        (status = 409, description = "The id was used for another request"),
        (status = 422, description = "A field breaks a rule, or the product or a place does not exist"),
        (status = 503, description = "The product service did not answer")),
    tag = "replenishment")]
pub(crate) async fn request_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    headers: HeaderMap,
    Json(new): Json<NewReplenishment>,
) -> Result<Response, Problem> {
    let keyed = KeyedRequest::from_headers(&headers, &caller.subject, "POST /api/stock/replenishments", &new)?;
    require_place_access(&caller, &new.place_id)?;
    let request = parse_request(&api, new, &caller.actor())?;
    let missing = api.catalogue.missing([&request.key.product_id].into()).await?;
    if !missing.is_empty() {
        return Err(Problem::fields(vec![unknown_product_error("", &request.key.product_id)]));
    }
    let requested = replenish::request(&api.executor, &request, keyed.as_ref()).await.map_err(as_field_error)?;
    Ok((StatusCode::CREATED, Json(ReplenishmentBody::from(requested))).into_response())
}

/// Approve a replenishment
///
/// Allowed in stage `requested`; a repeat changes nothing. For admins.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/approve", operation_id = "approveReplenishment",
    params(("id" = String, Path)),
    responses((status = 200, body = ReplenishmentBody), (status = 409, description = "The stage does not allow it")),
    tag = "replenishment")]
pub(crate) async fn approve_replenishment(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    transition(&api, &id, &Transition::Approve, &caller, None).await
}

/// Refuse a replenishment
///
/// Allowed in stages `requested` and `approved`; a repeat changes nothing. For admins.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/refuse", operation_id = "refuseReplenishment",
    params(("id" = String, Path)), request_body = NewRefusal,
    responses((status = 200, body = ReplenishmentBody), (status = 409, description = "The stage does not allow it"),
        (status = 422, description = "The reason is malformed")),
    tag = "replenishment")]
pub(crate) async fn refuse_replenishment(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
    Json(refusal): Json<NewRefusal>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    if let Some(error) = reason_error("", &refusal.reason) {
        return Err(Problem::fields(vec![error]));
    }
    transition(&api, &id, &Transition::Refuse { reason: refusal.reason }, &caller, None).await
}

/// Dispatch a replenishment
///
/// The goods leave the place that they come from, and are in transit. Allowed in stage `approved`; a repeat changes nothing. For
/// admins, and staff of the place that the goods come from.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/dispatch", operation_id = "dispatchReplenishment",
    params(("id" = String, Path)),
    responses((status = 200, body = ReplenishmentBody),
        (status = 409, description = "The stage does not allow it, or too few pieces are available")),
    tag = "replenishment")]
pub(crate) async fn dispatch_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    let replenishment = find_visible(&api, &caller, &id).await?;
    require_place_access(&caller, replenishment.from.as_str())?;
    transition(&api, &id, &Transition::Dispatch, &caller, None).await
}

/// Receive goods
///
/// Counted pieces arrive in the place that the goods go to, at once or in parts. A difference to what had left is booked, which
/// a clerk may not do (403). Allowed in stage `in_transit`. For admins, and staff of the place that the goods go to.
#[utoipa::path(post, path = "/api/stock/replenishments/{id}/receive", operation_id = "receiveReplenishment",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; a repeat with the same key is not counted again")),
    request_body = NewReceipt,
    responses((status = 200, body = ReplenishmentBody),
        (status = 409, description = "The stage does not allow it"),
        (status = 422, description = "A field breaks a rule, or more pieces were counted than the limit of `quantity` allows")),
    tag = "replenishment")]
pub(crate) async fn receive_replenishment(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(receipt): Json<NewReceipt>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    let replenishment = find_visible(&api, &caller, &id).await?;
    require_place_access(&caller, replenishment.to.as_str())?;
    const ROUTE: &str = "POST /api/stock/replenishments/{id}/receive";
    let keyed = KeyedRequest::from_headers(&headers, &caller.subject, ROUTE, &(&id, &receipt))?
        .unwrap_or_else(|| KeyedRequest::of_this_call(&caller.subject, ROUTE, &(&id, &receipt)));
    let NewReceipt { quantity, last } = receipt;
    if !(0..=MAX_PIECES).contains(&quantity) || (quantity == 0 && !last) {
        return Err(Problem::invalid("quantity", "range", "from 1, or 0 with `last`"));
    }
    // A difference to what had left is put in or written off, which a clerk may not do.
    let may_differ = caller.is_admin() || caller.is(Role::Manager);
    transition(&api, &id, &Transition::Receive { quantity, last, may_differ }, &caller, Some(keyed)).await
}

async fn transition(
    api: &Api,
    id: &str,
    transition: &Transition,
    caller: &Caller,
    keyed: Option<KeyedRequest>,
) -> Result<Json<ReplenishmentBody>, Problem> {
    let changed = replenish::transition(&api.executor, id, transition, &caller.actor(), keyed.as_ref()).await?;
    Ok(Json(changed.into()))
}

/// Finds a replenishment that the caller may see: to or from one of the caller's places.
async fn find_visible(api: &Api, caller: &Caller, id: &str) -> Result<Replenishment, Problem> {
    let read = async {
        let mut tx = api.db.read().await?;
        replenishments::get(&mut tx, id).await
    };
    let found = read.await.map_err(Problem::from)?;
    found
        .filter(|found| caller.may_act_in(found.to.as_str()) || caller.may_act_in(found.from.as_str()))
        .ok_or_else(|| Problem::not_found("replenishment"))
}

fn parse_request(api: &Api, new: NewReplenishment, actor: &str) -> Result<ReplenishmentRequest, Problem> {
    let mut errors = Vec::new();
    if !(1..=MAX_PIECES).contains(&new.quantity) {
        errors.push(FieldError::new("quantity", "range", format!("from 1 to {MAX_PIECES}")));
    }
    errors.extend(new.reason.as_deref().and_then(|reason| reason_error("", reason)));
    let id = new.id.as_deref().map(Id::<()>::parse).transpose();
    let product_id = ProductId::parse(&new.product_id);
    let to = PlaceId::parse(&new.place_id);
    let from = new.from_place_id.as_deref().map_or_else(|| Ok(api.default_place.clone()), PlaceId::parse);
    for (field, error) in [
        ("id", id.as_ref().err()),
        ("product_id", product_id.as_ref().err()),
        ("place_id", to.as_ref().err()),
        ("from_place_id", from.as_ref().err()),
    ] {
        if let Some(error) = error {
            errors.push(FieldError::new(field, "id", error.to_string()));
        }
    }
    if from.as_ref().is_ok_and(|from| to.as_ref() == Ok(from)) {
        errors.push(FieldError::new("place_id", "different", "not the place that the goods come from"));
    }
    match (id, product_id, to, from) {
        (Ok(id), Ok(product_id), Ok(place_id), Ok(from)) if errors.is_empty() => Ok(ReplenishmentRequest {
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

/// An unknown place in the body is an error of its field, not 404.
fn as_field_error(err: Error) -> Problem {
    match err {
        Error::UnknownPlace(_) => Problem::invalid("place_id", "exists", err.to_string()),
        err => err.into(),
    }
}
