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
    desk::{Answer, Desk},
    routes::AnyJson,
    values::{id, text},
};

pub(super) async fn list(State(desk): State<Desk>, uri: Uri) -> Result<Response, Refusal> {
    page(&desk, &uri, None).await
}

pub(super) async fn of_field(
    State(desk): State<Desk>,
    Path(value): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    page(&desk, &uri, Some(&value)).await
}

async fn page(desk: &Desk, uri: &Uri, value: Option<&str>) -> Result<Response, Refusal> {
    let pages = Pages::asked(uri)?;
    let part = pages.rows(|| desk.get(&["api", "prospects"]).maybe("field", value)).await?;
    Ok(pages.answer(part.total, all_shown(desk, &part.rows).await?))
}

pub(super) async fn one(State(desk): State<Desk>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let prospect = known(&desk, &number).await?;
    answer(&desk, &prospect).await
}

pub(super) async fn add(State(desk): State<Desk>, AnyJson(body): AnyJson) -> Result<Response, Refusal> {
    let lead = wanted(&desk, &body).await?;
    let made = desk.post(&["api", "prospects"]).json(lead).send().await.ok()?;
    answer(&desk, &made).await
}

pub(super) async fn change(
    State(desk): State<Desk>,
    Path(number): Path<String>,
    AnyJson(body): AnyJson,
) -> Result<Response, Refusal> {
    let prospect = known(&desk, &number).await?;
    let lead = wanted(&desk, &body).await?;
    let changed = desk.patch(&["api", "prospects", id(&prospect)]).json(lead).send().await.ok()?;
    answer(&desk, &changed).await
}

pub(super) async fn remove(State(desk): State<Desk>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let prospect = known(&desk, &number).await?;
    let gone = desk.delete(&["api", "prospects", id(&prospect)]).send().await;
    if gone.is_missing() {
        return Err(unknown());
    }
    gone.ok()?;
    Ok(Json(true).into_response())
}

async fn known(desk: &Desk, number: &str) -> Result<Value, Refusal> {
    find(desk, "prospects", number).await?.ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::missing("Prospect", None)
}

/// What a client sends, as the house takes it.
async fn wanted(desk: &Desk, body: &Value) -> Result<Map<String, Value>, Refusal> {
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
                Some(number) => find(desk, "activities", &number).await?,
                None => None,
            };
            let event = found.ok_or_else(|| Refusal::invalid("idEvent: there is no such event"))?;
            lead.insert("activity_id".into(), event["id"].clone());
        }
    }
    Ok(lead)
}

async fn answer(desk: &Desk, prospect: &Value) -> Result<Response, Refusal> {
    let shown = all_shown(desk, std::slice::from_ref(prospect)).await?;
    Ok(Json(shown.into_iter().next()).into_response())
}

/// Prospects as this dialect shows them. Each event is looked up once.
async fn all_shown(desk: &Desk, prospects: &[Value]) -> Result<Vec<Value>, Answer> {
    let mut events: BTreeMap<&str, Value> = BTreeMap::new();
    for activity in prospects.iter().filter_map(|prospect| prospect["activity_id"].as_str()) {
        if !events.contains_key(activity) {
            let event = find(desk, "activities", activity).await?;
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
