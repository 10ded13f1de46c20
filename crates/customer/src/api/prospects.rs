//! `/api/prospects`.

use std::sync::Arc;

use auth::{Allow, Caller, ManagerOrAdmin, ServiceOrStaff, Staff};
use axum::extract::State;
use axum::response::Response;
use chassis::{Json, Path, Problem, conditional};
use commerce::page::{Page, PageQuery};
use commerce::{Timestamp, UserId};
use http::{HeaderMap, StatusCode};
use idempotency::{KeyedRequest, StoredResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::List;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use crate::convert_prospect::convert;
use crate::domain::{Activity, Lead, LeadChange, Prospect, ProspectId, Stage};
use crate::error::Error;
use crate::events;
use crate::store::{Edit, Prospects, Step};
use crate::views::{self, ProspectView};

const ROUTE: &str = "POST /api/prospects";

/// A change of a prospect: fields, and a transition of the stage.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"company": "Analytical Engines Ltd", "phone": null, "stage": "lost", "reason": "no budget"}))]
pub(super) struct ProspectChange {
    #[serde(flatten)]
    lead: Lead,
    /// The new stage; unchanged if absent.
    stage: Option<Stage>,
    /// Reason of the transition, at most 500 characters; required for `lost`.
    reason: Option<String>,
}

/// Filter of the list of prospects.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListProspects {
    /// In this stage: `new`, `contacted`, `qualified`, `won` or `lost`.
    #[param(inline)]
    stage: Option<Stage>,
    /// With exactly this field of work.
    field: Option<String>,
    /// In the charge of this user.
    owner: Option<String>,
    /// With this text in names, company, e-mail address or phone number; at most 200 characters.
    search: Option<String>,
    /// With this number.
    number: Option<i64>,
}

/// Lists prospects in the order of their numbers. For staff and services.
#[utoipa::path(get, operation_id = "listProspects", path = "/api/prospects", tag = "prospects", params(ListProspects, PageQuery), security(("bearer" = [])),
    responses((status = 200, body = Page<ProspectView>)))]
pub(super) async fn list_prospects(
    State(api): State<Api>,
    _caller: Allow<ServiceOrStaff>,
    List { filter: query, paging }: List<ListProspects>,
) -> Result<Json<Page<ProspectView>>, Problem> {
    if query.search.as_ref().is_some_and(|search| search.chars().count() > 200) {
        return Err(Problem::invalid("search", "length", "at most 200 characters"));
    }
    let filter = Prospects {
        stage: query.stage.map(|stage| stage.as_str().to_owned()),
        field: query.field,
        owner: query.owner,
        search: query.search,
        number: query.number,
    };
    let window = paging.page_request::<i64>(&api.prospect_cursors).map_err(Error::from)?;
    let (rows, total) = api.store.records::<Prospect>(filter, window.clone()).await?;
    let page = window.page(&api.prospect_cursors, rows, total, |prospect| prospect.number);
    Ok(Json(Page {
        data: page.data.iter().map(ProspectView::from).collect(),
        next_cursor: page.next_cursor,
        page: page.page,
        total: page.total,
    }))
}

/// Creates a prospect in the stage `new`. For staff.
#[utoipa::path(post, operation_id = "createProspect", path = "/api/prospects", tag = "prospects", request_body = Lead, security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = ProspectView)))]
pub(super) async fn create_prospect(
    State(api): State<Api>,
    caller: Allow<Staff>,
    headers: HeaderMap,
    Json(body): Json<Lead>,
) -> Result<StoredResponse, Problem> {
    let key = KeyedRequest::from_headers(&headers, &caller.subject, ROUTE, &body)?;
    let lead = body.checked().map_err(Error::Invalid)?;
    known(&api, &lead, &Lead::default()).await?;
    let new = Prospect::new(ProspectId::new(), lead, &caller.actor(), Timestamp::now());
    let reply = api.store.create_record(new, key, views::prospect_response).await?;
    api.relay.wake();
    Ok(reply)
}

/// Returns a prospect. For staff and services.
#[utoipa::path(get, operation_id = "getProspect", path = "/api/prospects/{id}", tag = "prospects", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = ProspectView)))]
pub(super) async fn get_prospect(
    State(api): State<Api>,
    _caller: Allow<ServiceOrStaff>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let prospect = load(&api, &id).await?;
    Ok(conditional::versioned(prospect.version, ProspectView::from(&prospect)))
}

/// Replaces a prospect; absent fields are removed, except the stage, which stays.
#[utoipa::path(put, operation_id = "replaceProspect", path = "/api/prospects/{id}", tag = "prospects", request_body = ProspectChange, security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ProspectView), (status = 409, description = "No transition leads from the present stage to the new one")))]
pub(super) async fn replace_prospect(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(whole): Json<Value>,
) -> Result<Response, Problem> {
    change(api, &caller, &id, &headers, LeadChange::Replace(whole)).await
}

/// Changes the fields that are sent: absent fields stay, null removes a field (JSON Merge Patch, RFC 7386).
///
/// `stage` moves the prospect: `new` → `contacted` → `qualified` → `won` or `lost`. Steps forward may be skipped; `lost` → `contacted`
/// starts again; `won` is final.
#[utoipa::path(patch, operation_id = "changeProspect", path = "/api/prospects/{id}", tag = "prospects", request_body = ProspectChange, security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ProspectView), (status = 409, description = "No transition leads from the present stage to the new one")))]
pub(super) async fn change_prospect(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(patch): Json<Value>,
) -> Result<Response, Problem> {
    change(api, &caller, &id, &headers, LeadChange::Merge(patch)).await
}

async fn change(
    api: Api,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    change: LeadChange,
) -> Result<Response, Problem> {
    let before = load(&api, id).await?;
    known(&api, &change.apply(&before.lead).map_err(Error::from)?.0, &before.lead).await?;
    let (actor, now) = (caller.actor(), Timestamp::now());
    let edit: Edit<Prospect> = Arc::new(move |before: &Prospect| {
        let (lead, wanted) = change.apply(&before.lead)?;
        let after = before.changed(lead, wanted, &actor, now)?;
        let event = |after: &Prospect| events::prospect_event(events::PROSPECT_UPDATED, after);
        Ok(after.map(|after| Step { event: Some(event(&after)), after, redaction: None }))
    });
    let prospect = api.store.edit_record(before.id.as_str(), conditional::if_match(headers), edit).await?;
    api.relay.wake();
    Ok(conditional::versioned(prospect.version, ProspectView::from(&prospect)))
}

/// Deletes a prospect and all personal data, also from events and activities. For managers and admins.
#[utoipa::path(delete, operation_id = "deleteProspect", path = "/api/prospects/{id}", tag = "prospects", security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204)))]
pub(super) async fn delete_prospect(
    State(api): State<Api>,
    _caller: Allow<ManagerOrAdmin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let id = ProspectId::parse(&id).map_err(|_| Error::NotFound("prospect"))?;
    let now = Timestamp::now();
    let edit: Edit<Prospect> = Arc::new(move |before: &Prospect| {
        let after = before.erased(now);
        let event = events::prospect_event(events::PROSPECT_DELETED, &after);
        Ok(Some(Step { event: Some(event), redaction: Some(events::prospect_data(&after)), after }))
    });
    api.store.edit_record(id.as_str(), conditional::if_match(&headers), edit).await?;
    api.relay.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// Converts a prospect into a customer, once: the customer with the same e-mail address, or a new one. The stage becomes `won`.
///
/// Returns the prospect. A repeated request changes nothing.
#[utoipa::path(post, operation_id = "convertProspect", path = "/api/prospects/{id}/convert", tag = "prospects", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The prospect, with `customer_id`", body = ProspectView),
        (status = 409, description = "The prospect is lost, or the e-mail address belongs to a user without a customer")))]
pub(super) async fn convert_prospect(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let prospect = load(&api, &id).await?;
    let prospect = convert(api.store.as_ref(), prospect, &caller.actor()).await?;
    api.relay.wake();
    Ok(conditional::versioned(prospect.version, ProspectView::from(&prospect)))
}

async fn load(api: &Api, id: &str) -> Result<Prospect, Error> {
    let id = ProspectId::parse(id).map_err(|_| Error::NotFound("prospect"))?;
    api.store.record::<Prospect>(id.as_str()).await?.ok_or(Error::NotFound("prospect"))
}

/// A user or activity that is newly referenced must exist; one that was referenced before may have been deleted since.
async fn known(api: &Api, lead: &Lead, before: &Lead) -> Result<(), Error> {
    if let Some(owner) = lead.owner.as_ref().filter(|_| lead.owner != before.owner)
        && api.store.user(&UserId::trusted(owner.clone())).await?.is_none()
    {
        return Err(Error::invalid("owner", "unknown", "there is no such user"));
    }
    if let Some(activity) = lead.activity_id.as_ref().filter(|_| lead.activity_id != before.activity_id)
        && api.store.record::<Activity>(activity).await?.is_none()
    {
        return Err(Error::invalid("activity_id", "unknown", "there is no such activity"));
    }
    Ok(())
}
