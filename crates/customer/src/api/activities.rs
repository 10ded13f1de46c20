//! `/api/activities`.

use std::sync::Arc;

use auth::{Allow, ManagerOrAdmin, ServiceOrStaff, Staff};
use axum::extract::State;
use axum::response::Response;
use chassis::{Json, Path, Problem, conditional};
use commerce::Timestamp;
use commerce::page::{Page, PageQuery};
use http::{HeaderMap, StatusCode};
use idempotency::{KeyedRequest, StoredResponse};
use serde::Deserialize;
use serde_json::Value;
use service::List;
use utoipa::IntoParams;

use super::Api;
use crate::domain::{Activity, ActivityId, Day, Plan, Planned, Prospect, ProspectId};
use crate::error::Error;
use crate::events;
use crate::store::{Activities, Edit, Step};
use crate::views::{self, ActivityView};

const ROUTE: &str = "POST /api/activities";

/// Filter of the list of activities.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListActivities {
    /// On this day, `YYYY-MM-DD`.
    date: Option<String>,
    /// On this day or later.
    from: Option<String>,
    /// On this day or earlier.
    to: Option<String>,
    /// About this prospect.
    prospect_id: Option<String>,
    /// With this number.
    number: Option<i64>,
}

/// Lists activities in the order of their numbers. For staff and services.
#[utoipa::path(get, operation_id = "listActivities", path = "/api/activities", tag = "activities", params(ListActivities, PageQuery), security(("bearer" = [])),
    responses((status = 200, body = Page<ActivityView>)))]
pub(super) async fn list_activities(
    State(api): State<Api>,
    _caller: Allow<ServiceOrStaff>,
    List { filter: query, paging }: List<ListActivities>,
) -> Result<Json<Page<ActivityView>>, Problem> {
    for (field, day) in [("date", &query.date), ("from", &query.from), ("to", &query.to)] {
        if day.as_deref().is_some_and(|day| Day::parse(day).is_none()) {
            return Err(Problem::invalid(field, "date", "a day of the calendar as YYYY-MM-DD"));
        }
    }
    let filter = Activities {
        date: query.date,
        from: query.from,
        to: query.to,
        prospect_id: query.prospect_id,
        number: query.number,
    };
    let window = paging.page_request::<i64>(&api.activity_cursors).map_err(Error::from)?;
    let (rows, total) = api.store.records::<Activity>(filter, window.clone()).await?;
    let page = window.page(&api.activity_cursors, rows, total, |activity| activity.number);
    Ok(Json(Page {
        data: page.data.iter().map(ActivityView::from).collect(),
        next_cursor: page.next_cursor,
        page: page.page,
        total: page.total,
    }))
}

/// Creates an activity. For staff.
#[utoipa::path(post, operation_id = "createActivity", path = "/api/activities", tag = "activities", request_body = Plan, security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = ActivityView)))]
pub(super) async fn create_activity(
    State(api): State<Api>,
    caller: Allow<Staff>,
    headers: HeaderMap,
    Json(body): Json<Plan>,
) -> Result<StoredResponse, Problem> {
    let key = KeyedRequest::from_headers(&headers, &caller.subject, ROUTE, &body)?;
    let plan = body.checked().map_err(Error::Invalid)?;
    known(&api, &plan, None).await?;
    let new = Activity::new(ActivityId::new(), plan, Timestamp::now());
    let reply = api.store.create_record(new, key, views::activity_response).await?;
    api.relay.wake();
    Ok(reply)
}

/// Returns an activity. For staff and services.
#[utoipa::path(get, operation_id = "getActivity", path = "/api/activities/{id}", tag = "activities", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = ActivityView)))]
pub(super) async fn get_activity(
    State(api): State<Api>,
    _caller: Allow<ServiceOrStaff>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let activity = load(&api, &id).await?;
    Ok(conditional::versioned(activity.version, ActivityView::from(&activity)))
}

/// Changes the fields that are sent: absent fields stay, null removes a field (JSON Merge Patch, RFC 7386).
#[utoipa::path(patch, operation_id = "changeActivity", path = "/api/activities/{id}", tag = "activities", request_body = Plan, security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ActivityView)))]
pub(super) async fn change_activity(
    State(api): State<Api>,
    _caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(patch): Json<Value>,
) -> Result<Response, Problem> {
    let before = load(&api, &id).await?;
    known(&api, &before.plan.merged(&patch).map_err(Error::from)?, before.plan.prospect_id.as_ref()).await?;
    let now = Timestamp::now();
    let edit: Edit<Activity> = Arc::new(move |before: &Activity| {
        let after = before.changed(before.plan.merged(&patch).map_err(Error::from)?, now);
        // No event: consumers rely on the existence of an activity, not on its title.
        Ok(after.map(|after| Step { after, event: None, redaction: None }))
    });
    let activity = api.store.edit_record(before.id.as_str(), conditional::if_match(&headers), edit).await?;
    Ok(conditional::versioned(activity.version, ActivityView::from(&activity)))
}

/// Deletes an activity. An activity made from an event is not made again.
#[utoipa::path(delete, operation_id = "deleteActivity", path = "/api/activities/{id}", tag = "activities", security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204)))]
pub(super) async fn delete_activity(
    State(api): State<Api>,
    _caller: Allow<ManagerOrAdmin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let id = ActivityId::parse(&id).map_err(|_| Error::NotFound("activity"))?;
    let now = Timestamp::now();
    let edit: Edit<Activity> = Arc::new(move |before: &Activity| {
        let after = before.erased(now);
        Ok(Some(Step { event: None, redaction: Some(events::activity_data(&after)), after }))
    });
    api.store.edit_record(id.as_str(), conditional::if_match(&headers), edit).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn load(api: &Api, id: &str) -> Result<Activity, Error> {
    let id = ActivityId::parse(id).map_err(|_| Error::NotFound("activity"))?;
    api.store.record::<Activity>(id.as_str()).await?.ok_or(Error::NotFound("activity"))
}

/// A prospect that is newly referenced must exist; one that was referenced before may have been deleted since.
async fn known(api: &Api, plan: &Planned, before: Option<&ProspectId>) -> Result<(), Error> {
    match &plan.prospect_id {
        Some(id) if before != Some(id) && api.store.record::<Prospect>(id.as_str()).await?.is_none() => {
            Err(Error::invalid("prospect_id", "unknown", "there is no such prospect"))
        }
        _ => Ok(()),
    }
}
