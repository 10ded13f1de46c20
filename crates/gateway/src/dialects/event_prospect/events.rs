//! Events as the Java service told them: the house's activities.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::{Pages, Refusal, find};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    routes::AnyJson,
    values::id,
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
    let pages = Pages::asked(uri)?;
    let part = pages.rows(|| api.get(&["api", "activities"]).maybe("date", date)).await?;
    Ok(pages.response(part.total, render_all(api, &part.rows).await?))
}

pub(super) async fn one(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let event = known(&api, &number).await?;
    response(&api, StatusCode::OK, &event).await
}

pub(super) async fn add(State(api): State<ApiClient>, AnyJson(body): AnyJson) -> Result<Response, Refusal> {
    let made = api.post(&["api", "activities"]).json(wanted(&body)).send().await.ok()?;
    response(&api, StatusCode::CREATED, &made).await
}

pub(super) async fn change(
    State(api): State<ApiClient>,
    Path(number): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Response, Refusal> {
    let event = known(&api, &number).await?;
    let changed = api.patch(&["api", "activities", id(&event)]).json(wanted(&body)).send().await.ok()?;
    response(&api, StatusCode::OK, &changed).await
}

pub(super) async fn remove(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let event = known(&api, &number).await?;
    let gone = api.delete(&["api", "activities", id(&event)]).send().await;
    if gone.is_not_found() {
        return Err(unknown(&number));
    }
    gone.ok()?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn known(api: &ApiClient, number: &str) -> Result<Value, Refusal> {
    find(api, "activities", number).await?.ok_or_else(|| unknown(number))
}

fn unknown(number: &str) -> Refusal {
    Refusal::missing("Event", Some(json!(format!("id: {number}"))))
}

/// What a client sends, as the house takes it.
pub(super) fn wanted(body: &Value) -> Map<String, Value> {
    [("name", "name"), ("dateEvent", "date")]
        .into_iter()
        .filter_map(|(theirs, ours)| Some((ours.to_owned(), body.get(theirs)?.clone())))
        .collect()
}

async fn response(api: &ApiClient, status: StatusCode, event: &Value) -> Result<Response, Refusal> {
    let shown = render_all(api, std::slice::from_ref(event)).await?;
    Ok((status, Json(shown.into_iter().next())).into_response())
}

/// Events as this dialect shows them; one that tells of a prospect carries his id. Each prospect is looked up once.
async fn render_all(api: &ApiClient, events: &[Value]) -> Result<Vec<Value>, ApiResponse> {
    let mut prospects: BTreeMap<&str, Value> = BTreeMap::new();
    for prospect in events.iter().filter_map(|event| event["prospect_id"].as_str()) {
        if !prospects.contains_key(prospect) {
            let found = find(api, "prospects", prospect).await?;
            prospects.insert(prospect, found.map_or(Value::Null, |found| found["number"].clone()));
        }
    }
    let shown = |event: &Value| {
        let mut shown = json!({"id": event["number"], "name": event["name"], "dateEvent": event["date"]});
        if let Some(prospect) = event["prospect_id"].as_str() {
            shown["idProspect"] = prospects.get(prospect).cloned().unwrap_or_default();
        }
        shown
    };
    Ok(events.iter().map(shown).collect())
}
