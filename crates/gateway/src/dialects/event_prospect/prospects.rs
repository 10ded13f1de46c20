//! Prospects, with the wire format of the Java service.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::Uri;
use serde_json::{Map, Value, json};

use super::{PageQuery, Refusal, find};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    model::{Activity, Prospect},
    routes::AnyJson,
    values::text,
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
    let query = PageQuery::read(uri)?;
    let range = query.rows(|| api.get(&["api", "prospects"]).maybe("field", value)).await?;
    Ok(query.response(range.total, render_all(api, &range.rows).await?))
}

pub(super) async fn one(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let prospect = find_prospect(&api, &number).await?;
    response(&api, &prospect).await
}

pub(super) async fn add(State(api): State<ApiClient>, AnyJson(body): AnyJson) -> Result<Response, Refusal> {
    let lead = api_body(&api, &body).await?;
    let created = api.post(&["api", "prospects"]).json(lead).send().await.ok()?;
    response(&api, &created).await
}

pub(super) async fn change(
    State(api): State<ApiClient>,
    Path(number): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Response, Refusal> {
    let prospect = find_prospect(&api, &number).await?;
    let lead = api_body(&api, &body).await?;
    let changed = api.patch(&["api", "prospects", &prospect.id]).json(lead).send().await.ok()?;
    response(&api, &changed).await
}

pub(super) async fn remove(State(api): State<ApiClient>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let prospect = find_prospect(&api, &number).await?;
    let deleted = api.delete(&["api", "prospects", &prospect.id]).send().await;
    if deleted.is_not_found() {
        return Err(not_found());
    }
    deleted.check()?;
    Ok(Json(true).into_response())
}

async fn find_prospect(api: &ApiClient, number: &str) -> Result<Prospect, Refusal> {
    find(api, "prospects", number).await?.ok_or_else(not_found)
}

fn not_found() -> Refusal {
    Refusal::missing("Prospect", None)
}

/// The body for the API.
async fn api_body(api: &ApiClient, body: &Value) -> Result<Map<String, Value>, Refusal> {
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
            let event: Activity = found.ok_or_else(|| Refusal::invalid("idEvent: there is no such event"))?;
            lead.insert("activity_id".into(), event.id.into());
        }
    }
    Ok(lead)
}

async fn response(api: &ApiClient, prospect: &Prospect) -> Result<Response, Refusal> {
    let rendered = render_all(api, std::slice::from_ref(prospect)).await?;
    Ok(Json(rendered.into_iter().next()).into_response())
}

/// Prospects in this dialect. Each event is read once.
async fn render_all(api: &ApiClient, prospects: &[Prospect]) -> Result<Vec<Value>, ApiResponse> {
    let mut events: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for id in prospects.iter().filter_map(|prospect| prospect.activity_id.as_deref()) {
        if !events.contains_key(id) {
            let event: Option<Activity> = find(api, "activities", id).await?;
            events.insert(id, event.map(|event| event.number));
        }
    }
    let render = |prospect: &Prospect| {
        json!({
            "id": prospect.number,
            "firstName": prospect.first_name,
            "lastName": prospect.last_name,
            "filedWork": prospect.field,
            "idEvent": prospect.activity_id.as_deref().and_then(|id| events.get(id)),
        })
    };
    Ok(prospects.iter().map(render).collect())
}
