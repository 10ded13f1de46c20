//! Exports spans in Zipkin's JSON format, version 2. The crate `opentelemetry-zipkin` is not an alternative: it omits the
//! service name, without which Zipkin shows nothing, and is no longer maintained.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use reqwest::{Client, Url};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::TelemetryError;

/// Posts spans to a Zipkin server.
#[derive(Clone, Debug)]
pub(super) struct Zipkin {
    service: String,
    endpoint: Url,
    client: Client,
    runtime: Handle,
}

/// Parses `OTEL_EXPORTER_ZIPKIN_ENDPOINT`.
fn parse(text: &str) -> Result<Url, TelemetryError> {
    let refused = || TelemetryError::Zipkin { value: text.to_owned() };
    let url = Url::parse(text).map_err(|_| refused())?;
    if ["http", "https"].contains(&url.scheme()) && url.has_host() { Ok(url) } else { Err(refused()) }
}

impl Zipkin {
    /// Must be called inside the runtime that sends the spans.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Result<Self, TelemetryError> {
        let endpoint = parse(endpoint)?;
        let client = Client::builder().timeout(timeout).build().map_err(TelemetryError::Client)?;
        Ok(Self { service: String::new(), endpoint, client, runtime: Handle::current() })
    }

    /// An exporter to the same server for the spans of this service.
    pub(super) fn for_service(&self, service: &str) -> Self {
        Self { service: service.to_owned(), ..self.clone() }
    }
}

impl SpanExporter for Zipkin {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans: Vec<Value> = batch.iter().map(|span| as_json(&self.service, span)).collect();
        let request = self.client.post(self.endpoint.clone()).json(&spans);
        // The processor calls this on a thread of its own, outside of the runtime that the client needs.
        let sent = self.runtime.spawn(async move { request.send().await?.error_for_status().map(drop) });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(OTelSdkError::InternalFailure(causes(&error))),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        }
    }
}

/// An error with its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn micros(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// A span in Zipkin's format (<https://zipkin.io/zipkin-api/>), by the mapping of the OpenTelemetry specification.
fn as_json(service: &str, span: &SpanData) -> Value {
    let mut tags: Map<String, Value> =
        span.attributes.iter().map(|pair| (pair.key.as_str().to_owned(), pair.value.as_str().into())).collect();
    tags.insert("otel.scope.name".into(), span.instrumentation_scope.name().into());
    match &span.status {
        Status::Unset => {}
        Status::Ok => drop(tags.insert("otel.status_code".into(), "OK".into())),
        Status::Error { description } => {
            tags.insert("otel.status_code".into(), "ERROR".into());
            tags.insert("error".into(), description.as_ref().into());
        }
    }
    let (begun, ended) = (micros(span.start_time), micros(span.end_time));
    let annotations: Vec<Value> = span
        .events
        .iter()
        .map(|event| json!({"timestamp": micros(event.timestamp), "value": event.name.as_ref()}))
        .collect();
    let mut json = json!({
        "traceId": span.span_context.trace_id().to_string(),
        "id": span.span_context.span_id().to_string(),
        "name": span.name.as_ref(),
        "timestamp": begun,
        // Zipkin treats a duration of 0 as unknown.
        "duration": ended.saturating_sub(begun).max(1),
        "localEndpoint": {"serviceName": service},
        "annotations": annotations,
        "tags": tags,
    });
    if span.parent_span_id != SpanId::INVALID {
        json["parentId"] = span.parent_span_id.to_string().into();
    }
    let kind = match span.span_kind {
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Server => Some("SERVER"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
        SpanKind::Internal => None,
    };
    if let Some(kind) = kind {
        json["kind"] = kind.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, TraceFlags, TraceId, TraceState};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn span(parent: SpanId, kind: SpanKind, status: Status) -> SpanData {
        let ids = (TraceId::from(0x4bf9_u128), SpanId::from(0x00f0_u64));
        SpanData {
            span_context: SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: true,
            span_kind: kind,
            name: "GET /things".into(),
            start_time: UNIX_EPOCH + Duration::from_micros(1_000_000),
            end_time: UNIX_EPOCH + Duration::from_micros(1_000_250),
            attributes: vec![KeyValue::new("http.route", "/things"), KeyValue::new("count", 3)],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("souk").build(),
        }
    }

    #[test]
    fn a_span_is_exported_with_its_service_its_parent_and_its_failure() {
        let json = as_json("front", &span(SpanId::from(0xb7_u64), SpanKind::Server, Status::error("unreachable")));
        assert_eq!(
            json,
            json!({
                "traceId": "00000000000000000000000000004bf9",
                "id": "00000000000000f0",
                "parentId": "00000000000000b7",
                "name": "GET /things",
                "kind": "SERVER",
                "timestamp": 1_000_000,
                "duration": 250,
                "localEndpoint": {"serviceName": "front"},
                "annotations": [],
                "tags": {
                    "http.route": "/things",
                    "count": "3",
                    "otel.scope.name": "souk",
                    "otel.status_code": "ERROR",
                    "error": "unreachable",
                },
            })
        );
    }

    #[test]
    fn a_trace_begins_with_a_span_without_parent() {
        let json = as_json("front", &span(SpanId::INVALID, SpanKind::Internal, Status::Unset));
        assert!(json.get("parentId").is_none() && json.get("kind").is_none(), "{json}");
    }

    #[test]
    fn an_endpoint_is_a_url() {
        assert!(parse("http://zipkin:9411/api/v2/spans").is_ok());
        for bad in ["zipkin:9411", "", "/api/v2/spans", "file:///x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
