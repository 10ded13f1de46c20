//! One trace from the gateway over HTTP, gRPC and events to the consumers, told to a collector by OTLP.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use fleet_tests::{Fleet, eventually};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// Services by trace id.
type Seen = Arc<Mutex<BTreeMap<Vec<u8>, BTreeSet<String>>>>;

#[derive(Default)]
struct Collector(Seen);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_service in request.into_inner().resource_spans {
            let name = of_service.resource.iter().flat_map(|resource| &resource.attributes).find_map(|attribute| {
                match attribute.value.as_ref()?.value.as_ref()? {
                    Value::StringValue(name) if attribute.key == "service.name" => Some(name.clone()),
                    _ => None,
                }
            });
            for span in of_service.scope_spans.iter().flat_map(|scope| &scope.spans) {
                seen.entry(span.trace_id.clone()).or_default().insert(name.clone().unwrap_or_default());
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_trace_through_all_services_that_it_touches() -> Result<()> {
    let collector = Collector::default();
    let seen = Arc::clone(&collector.0);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector))
            .serve_with_incoming(incoming),
    );
    let folder = tempfile::tempdir()?;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let fleet = Fleet::start_with(folder.path(), &env).await?;
    let customer = fleet.client("customer");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let order = json!({"lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]});
    let request = customer
        .request(reqwest::Method::POST, "/api/orders")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&order);
    customer.send(request).await?.expect(201)?;
    let id: Vec<u8> = (0..16).filter_map(|n| u8::from_str_radix(trace.get(2 * n..2 * n + 2)?, 16).ok()).collect();
    let wanted: BTreeSet<String> =
        ["gateway", "order", "product", "customer", "stock", "payment", "notification"].map(str::to_owned).into();
    eventually("one trace of seven services", || async {
        let services = seen.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default();
        Ok(services.is_superset(&wanted).then_some(()))
    })
    .await
    .map_err(|error| {
        let services = seen.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        error.context(format!("of {wanted:?} there were {services:?}"))
    })?;
    fleet.terminate().await
}
