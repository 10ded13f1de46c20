//! Orders that other programs report, by plain JSON or by a CloudEvent, as a sidecar or a script sends it.

use std::time::Duration;

use auth::{Allow, ServiceOrAdmin};
use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Bytes,
    extract::{FromRequestParts, Request, State as AxumState},
    response::{IntoResponse, Response},
};
use chassis::{Json, Problem, read_body};
use commerce::{Id, Timestamp};
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::State;
use crate::{domain::Reported, error::Error, store};

/// The names under which the inbox keeps the ids of reports; no topic has them.
const EVENTS: &str = "POST /orders, by event";
const CONTENTS: &str = "POST /orders, by content";
/// How long the same JSON counts as a repeat. A program repeats a request within a day; the same content later is a new report.
const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// The refusal of other content types.
const INVALID: &str = "Invalid order data";

/// The fields that are required of a CloudEvent. Not `time` and `type`: old publishers leave them out.
#[derive(Deserialize)]
struct Envelope {
    #[expect(dead_code, reason = "only its presence matters")]
    specversion: String,
    id: String,
    #[serde(default)]
    source: String,
    data: Value,
}

/// A report, and the id by which a repeat is recognised.
#[derive(Debug, PartialEq)]
struct Report {
    order: Reported,
    is_event: bool,
    id: String,
}

/// Makes a notification of an order that another program reports: once for each CloudEvent, and once a day for the same JSON.
///
/// For services and admins with a token. Without a token, for the Dapr sidecar of this process: it sends `APP_API_TOKEN`, or calls
/// from the loopback address if none is set.
#[utoipa::path(post, operation_id = "report", path = "/orders", tag = "reports",
    request_body(description = "The order, or a CloudEvent that carries it in `data`.", content(
        (Reported = "application/json", example = json!({"order_id": "1001", "customer_id": "42",
            "items": [{"product_name": "Tea", "quantity": 2, "price": 4.5}], "total_price": 9.0, "status": "pending",
            "created_at": "2026-01-02T03:04:05Z"})),
        (Object = "application/cloudevents+json", example = json!({"specversion": "1.0", "id": "e-1", "source": "order-service",
            "type": "com.dapr.event.sent", "datacontenttype": "application/json",
            "data": {"order_id": "1001", "customer_id": "42", "items": [], "total_price": 9.0, "status": "pending",
                "created_at": "2026-01-02T03:04:05Z"}})),
    )),
    responses(
        (status = 200, description = "Accepted, now or before. Without content for an order, `{\"status\":\"SUCCESS\"}` for a CloudEvent.",
            content((Object = "application/json", example = json!({"status": "SUCCESS"})))),
        (status = 400, description = "Neither an order nor a CloudEvent with one, or the content type is not JSON.", content((String = "text/plain", example = "Invalid order data"))),
        (status = 401, description = "Neither a token nor a request of the sidecar."),
        (status = 403, description = "The token has neither the role `service` nor `admin`."),
    ))]
pub(super) async fn report(AxumState(state): AxumState<State>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    // A request with a token is authorised by it, wherever it comes from.
    if parts.headers.contains_key(AUTHORIZATION) || !state.sidecar.is_caller(&parts.headers, &parts.extensions) {
        Allow::<ServiceOrAdmin>::from_request_parts(&mut parts, &state).await?;
    }
    let body = read_body(&parts, body).await?;
    let Some(report) = read(&parts.headers, &body) else {
        return Ok((StatusCode::BAD_REQUEST, INVALID).into_response());
    };
    add_notice(&state, &report).await?;
    Ok(if report.is_event {
        Json(json!({"status": "SUCCESS"})).into_response()
    } else {
        StatusCode::OK.into_response()
    })
}

/// Reads a report; `None` if the request is none. The content type must be JSON: a page of another origin cannot send that
/// without a CORS preflight, and can send any other type.
fn read(headers: &HeaderMap, body: &Bytes) -> Option<Report> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    if !(kind == "application/json" || kind == "application/cloudevents+json") {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    if value.get("specversion").is_none() {
        let order: Reported = serde_json::from_value(value).ok()?;
        let id = fingerprint(&serde_json::to_vec(&order).ok()?);
        return Some(Report { order, is_event: false, id });
    }
    let Envelope { id, source, data, .. } = serde_json::from_value(value).ok()?;
    // Some publish the order as a text, and the sidecar wraps that.
    let data = if let Value::String(text) = data { serde_json::from_str(&text).ok()? } else { data };
    let order = serde_json::from_value(data).ok()?;
    // Source and id together identify an event; both come from outside, so only their fingerprint is stored.
    let id = fingerprint(&serde_json::to_vec(&(source, id)).ok()?);
    Some(Report { order, is_event: true, id })
}

fn fingerprint(bytes: &[u8]) -> String {
    use std::fmt::Write;
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn add_notice(state: &State, report: &Report) -> Result<(), Error> {
    let (source, repeat_window) = if report.is_event { (EVENTS, None) } else { (CONTENTS, Some(REPEAT_WINDOW)) };
    let mut tx = state.db.write().await?;
    if !bus::inbox::once(&mut tx, source, &report.id, repeat_window).await? {
        return Ok(());
    }
    let id = Id::<Reported>::new().to_string();
    let added = store::add(&mut tx, vec![report.order.notice(id, Timestamp::now())]).await?;
    tx.commit().await?;
    state.sender.send_modify(|n| *n += added);
    Ok(())
}
