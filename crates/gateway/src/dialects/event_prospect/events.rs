//! Events, with the wire format of the Java service: activities in the API.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::{PageQuery, Refusal, find};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    model::{Activity, Prospect},
    routes::AnyJson,
};

pub(super) async fn list(State(api): State<ApiClient>, uri: Uri) -> Result<Response, Refusal> {
    page(&api, &uri, None).await
}

pub(super) async fn of_day(
    State(api): State<ApiClient>,
    Path(date): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    page(&api, &uri, Some(&date)).await
}

async fn page(api: &ApiClient, uri: &Uri, date: Option<&str>) -> Result<Response, Refusal> {
    let query = PageQuery::read(uri)?;
    let range = query.rows(|| api.get(&["api", "activities"]).maybe("date", date)).await?;
    Ok(query.response(range.total, render_all(api, &range.rows).await?))
}

pub(super) async fn one(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let event = find_event(&api, &number).await?;
    response(&api, StatusCode::OK, &event).await
}

pub(super) async fn add(State(api): State<ApiClient>, AnyJson(body): AnyJson) -> Result<Response, Refusal> {
    let created = api.post(&["api", "activities"]).json(api_body(&body)).send().await.ok()?;
    response(&api, StatusCode::CREATED, &created).await
}

pub(super) async fn change(
    State(api): State<ApiClient>,
    Path(number): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Response, Refusal> {
    let event = find_event(&api, &number).await?;
    let changed = api.patch(&["api", "activities", &event.id]).json(api_body(&body)).send().await.ok()?;
    response(&api, StatusCode::OK, &changed).await
}

pub(super) async fn remove(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let event = find_event(&api, &number).await?;
    let deleted = api.delete(&["api", "activities", &event.id]).send().await;
    if deleted.is_not_found() {
        return Err(not_found(&number));
    }
    deleted.check()?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn find_event(api: &ApiClient, number: &str) -> Result<Activity, Refusal> {
    find(api, "activities", number).await?.ok_or_else(|| not_found(number))
}

fn not_found(number: &str) -> Refusal {
    Refusal::missing("Event", Some(json!(format!("id: {number}"))))
}

/// The body for the API.
pub(super) fn api_body(body: &Value) -> Map<String, Value> {
    [("name", "name"), ("dateEvent", "date")]
        .into_iter()
        .filter_map(|(theirs, ours)| Some((ours.to_owned(), body.get(theirs)?.clone())))
        .collect()
}

async fn response(api: &ApiClient, status: StatusCode, event: &Activity) -> Result<Response, Refusal> {
    let rendered = render_all(api, std::slice::from_ref(event)).await?;
    Ok((status, Json(rendered.into_iter().next())).into_response())
}

/// Events in this dialect. An event about a prospect has the prospect's number; each prospect is read once.
async fn render_all(api: &ApiClient, events: &[Activity]) -> Result<Vec<Value>, ApiResponse> {
    let mut prospects: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for id in events.iter().filter_map(|event| event.prospect_id.as_deref()) {
        if !prospects.contains_key(id) {
            let prospect: Option<Prospect> = find(api, "prospects", id).await?;
            prospects.insert(id, prospect.map(|prospect| prospect.number));
        }
    }
    let render = |event: &Activity| {
        let mut rendered = json!({"id": event.number, "name": event.name, "dateEvent": event.date});
        if let Some(id) = event.prospect_id.as_deref() {
            rendered["idProspect"] = prospects.get(id).copied().flatten().into();
        }
        rendered
    };
    Ok(events.iter().map(render).collect())
}
