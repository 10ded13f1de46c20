//! Prospects as the Java service told them.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::Uri;
use serde_json::{Map, Value, json};

use super::{Pages, Refusal, find};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    routes::AnyJson,
    values::{id, text},
};

pub(super) async fn list(State(api): State<ApiClient>, uri: Uri) -> Result<Response, Refusal> {
    page(&api, &uri, None).await
}

pub(super) async fn of_field(
    State(api): State<ApiClient>,
    Path(value): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    page(&api, &uri, Some(&value)).await
}

async fn page(api: &ApiClient, uri: &Uri, value: Option<&str>) -> Result<Response, Refusal> {
    let pages = Pages::asked(uri)?;
    let part = pages.rows(|| api.get(&["api", "prospects"]).maybe("field", value)).await?;
    Ok(pages.response(part.total, render_all(api, &part.rows).await?))
}

pub(super) async fn one(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let prospect = known(&api, &number).await?;
    response(&api, &prospect).await
}

pub(super) async fn add(State(api): State<ApiClient>, AnyJson(body): AnyJson) -> Result<Response, Refusal> {
    let lead = wanted(&api, &body).await?;
    let made = api.post(&["api", "prospects"]).json(lead).send().await.ok()?;
    response(&api, &made).await
}

pub(super) async fn change(
    State(api): State<ApiClient>,
    Path(number): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Response, Refusal> {
    let prospect = known(&api, &number).await?;
    let lead = wanted(&api, &body).await?;
    let changed = api.patch(&["api", "prospects", id(&prospect)]).json(lead).send().await.ok()?;
    response(&api, &changed).await
}

pub(super) async fn remove(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let prospect = known(&api, &number).await?;
    let gone = api.delete(&["api", "prospects", id(&prospect)]).send().await;
    if gone.is_not_found() {
        return Err(unknown());
    }
    gone.ok()?;
    Ok(Json(true).into_response())
}

async fn known(api: &ApiClient, number: &str) -> Result<Value, Refusal> {
    find(api, "prospects", number).await?.ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::missing("Prospect", None)
}

/// What a client sends, as the house takes it.
async fn wanted(api: &ApiClient, body: &Value) -> Result<Map<String, Value>, Refusal> {
    let mut lead = Map::new();
    for (theirs, ours) in [("firstName", "first_name"), ("lastName", "last_name"), ("filedWork", "field")] {
        if let Some(value) = body.get(theirs) {
            lead.insert(ours.into(), value.clone());
        }
    }
    match body.get("idEvent") {
        None => {}
        Some(Value::Null) => {
            lead.insert("activity_id".into(), Value::Null);
        }
        Some(event) => {
            let found = match text(event) {
                Some(number) => find(api, "activities", &number).await?,
                None => None,
            };
            let event = found.ok_or_else(|| Refusal::invalid("idEvent: there is no such event"))?;
            lead.insert("activity_id".into(), event["id"].clone());
        }
    }
    Ok(lead)
}

async fn response(api: &ApiClient, prospect: &Value) -> Result<Response, Refusal> {
    let shown = render_all(api, std::slice::from_ref(prospect)).await?;
    Ok(Json(shown.into_iter().next()).into_response())
}

/// Prospects as this dialect shows them. Each event is looked up once.
async fn render_all(api: &ApiClient, prospects: &[Value]) -> Result<Vec<Value>, ApiResponse> {
    let mut events: BTreeMap<&str, Value> = BTreeMap::new();
    for activity in prospects.iter().filter_map(|prospect| prospect["activity_id"].as_str()) {
        if !events.contains_key(activity) {
            let event = find(api, "activities", activity).await?;
            events.insert(activity, event.map_or(Value::Null, |event| event["number"].clone()));
        }
    }
    let shown = |prospect: &Value| {
        json!({
            "id": prospect["number"],
            "firstName": prospect["first_name"],
            "lastName": prospect["last_name"],
            "filedWork": prospect["field"],
            "idEvent": prospect["activity_id"].as_str().and_then(|activity| events.get(activity)),
        })
    };
    Ok(prospects.iter().map(shown).collect())
}
