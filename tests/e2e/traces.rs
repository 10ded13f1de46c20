//! One trace from the gateway over HTTP, gRPC and events to the consumers, exported over OTLP or in Zipkin's format, and read back
//! from real collectors if they are available.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Processes, eventually};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value as OtlpValue,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tonic::{Request, Response, Status};

use crate::{chaos::print_result, separate::create_stores};

/// The trace and span id of the client, for tests with a collector of their own.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";
const SERVICES: [&str; 7] = ["gateway", "order", "product", "customer", "stock", "payment", "notification"];

/// A collector that stores the services of each trace, by trace id.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Collector {
    fn record(&self, trace: String, service: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(trace).or_default().insert(service);
    }

    fn services(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(TRACE).cloned().unwrap_or_default()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_service in request.into_inner().resource_spans {
            let name = of_service.resource.iter().flat_map(|resource| &resource.attributes).find_map(|attribute| {
                match attribute.value.as_ref()?.value.as_ref()? {
                    OtlpValue::StringValue(name) if attribute.key == "service.name" => Some(name.clone()),
                    _ => None,
                }
            });
            for span in of_service.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let id = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
                self.record(id, name.clone().unwrap_or_default());
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Receives the spans posted on a connection, like Zipkin.
    async fn serve_zipkin(self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).await? > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse()?;
                }
                line.clear();
            }
            if length == 0 {
                return Ok(());
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            for span in serde_json::from_slice::<Vec<Value>>(&body)? {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                self.record(text(&span["traceId"]), text(&span["localEndpoint"]["serviceName"]));
            }
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }
}

async fn place_order(customer: &Client, trace: &str) -> Result<()> {
    let order = json!({"lines": [{"product_id": "TEA-ASSAM-250", "quantity": 1}]});
    let request = customer
        .request(reqwest::Method::POST, "/api/orders")
        .header("traceparent", format!("00-{trace}-{CLIENT_SPAN}-01"))
        .json(&order);
    customer.send(request).await?.expect(201).map(drop)
}

/// Places an order in a fleet with these exporter settings, and waits until the collector has spans of all seven services.
async fn check_complete_trace(collector: &Collector, env: &[(&str, &str)]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let env = [env, &[("OTEL_BSP_SCHEDULE_DELAY", "200")]].concat();
    let fleet = Fleet::start_with(folder.path(), &env).await?;
    place_order(&fleet.client("customer"), TRACE).await?;
    let expected: BTreeSet<String> = SERVICES.map(str::to_owned).into();
    eventually("one trace of seven services", || async {
        Ok(collector.services().is_superset(&expected).then_some(()))
    })
    .await
    .map_err(|error| error.context(format!("expected {expected:?}, found {:?}", collector.services())))?;
    fleet.terminate().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_trace_through_all_services_that_it_touches() -> Result<()> {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(incoming),
    );
    check_complete_trace(&collector, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn zipkin_receives_each_span_with_the_name_of_its_service() -> Result<()> {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/api/v2/spans", listener.local_addr()?);
    let server = collector.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(server.clone().serve_zipkin(stream));
        }
    });
    check_complete_trace(&collector, &[("OTEL_EXPORTER_ZIPKIN_ENDPOINT", &endpoint)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_collector_is_logged_once_and_does_not_affect_requests() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let closed_port = format!("http://127.0.0.1:{}", testkit::free_port()?);
    let spans = format!("{closed_port}/api/v2/spans");
    let env = [
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin,pigeon"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", closed_port.as_str()),
        ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", &spans),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let fleet = Fleet::embedded(folder.path(), &env).await?;
    for _ in 0..5 {
        place_order(&fleet.client("customer"), TRACE).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let log = fleet.log();
    ensure!(log.matches("accepts no spans").count() == 2, "not logged once for each collector:\n{log}");
    ensure!(log.contains("pigeon"), "an unknown exporter is not logged:\n{log}");
    ensure!(!log.contains("BatchSpanProcessor"), "the SDK logs it too:\n{log}");
    fleet.terminate().await
}

/// A span in a collector: its id, the id of its parent, and its service.
type Span = (String, Option<String>, String);

/// Reads a trace from Zipkin; empty if it does not exist yet.
async fn read_from_zipkin(url: &str, trace: &str) -> Result<Vec<Span>> {
    let response = Client::new(url, None).get(&format!("/api/v2/trace/{trace}")).await?;
    if response.status != 200 {
        return Ok(Vec::new());
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let spans = response.json()?.as_array().cloned().unwrap_or_default();
    spans
        .iter()
        .map(|span| {
            let service = text(&span["localEndpoint"]["serviceName"]).unwrap_or_default();
            Ok((text(&span["id"]).context("an id")?, text(&span["parentId"]), service))
        })
        .collect()
}

/// Reads a trace from Jaeger; empty if it does not exist yet.
async fn read_from_jaeger(url: &str, id: &str) -> Result<Vec<Span>> {
    let response = Client::new(url, None).get(&format!("/api/traces/{id}")).await?;
    if response.status != 200 {
        return Ok(Vec::new());
    }
    let trace = &response.json()?["data"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    trace["spans"]
        .as_array()
        .context("spans")?
        .iter()
        .map(|span| {
            let process = span["processID"].as_str().unwrap_or_default();
            let service = text(&trace["processes"][process]["serviceName"]).unwrap_or_default();
            let parent = text(&span["references"][0]["spanID"]);
            Ok((text(&span["spanID"]).context("an id")?, parent, service))
        })
        .collect()
}

/// Whether a trace is complete: it has spans of all services, and each span's parent is in the trace or is the client's span.
fn is_complete(spans: &[Span]) -> bool {
    let ids: BTreeSet<&str> = spans.iter().map(|(id, _, _)| id.as_str()).collect();
    let services: BTreeSet<&str> = spans.iter().map(|(_, _, service)| service.as_str()).collect();
    services == BTreeSet::from(SERVICES)
        && spans
            .iter()
            .all(|(_, parent, _)| parent.as_ref().is_some_and(|p| p == CLIENT_SPAN || ids.contains(p.as_str())))
}

fn summary(spans: &[Span]) -> String {
    let mut by_service: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, _, service) in spans {
        *by_service.entry(service).or_default() += 1;
    }
    let parts: Vec<String> = by_service.iter().map(|(service, count)| format!("{service} {count}")).collect();
    format!("{} spans of {} services ({})", spans.len(), by_service.len(), parts.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Zipkin and Jaeger by SOUK_TEST_ZIPKIN_URL and SOUK_TEST_JAEGER_URL: ./test starts them"]
async fn a_checkout_comes_back_whole_from_real_collectors() -> Result<()> {
    let zipkin = testkit::server("SOUK_TEST_ZIPKIN_URL");
    let jaeger = testkit::server("SOUK_TEST_JAEGER_URL");
    let (otlp, jaeger) =
        jaeger.split_once(' ').context("SOUK_TEST_JAEGER_URL must be two addresses: of OTLP and of the query API")?;
    let spans = format!("{zipkin}/api/v2/spans");
    let env = [
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", otlp),
        ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", &spans),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let folder = tempfile::tempdir()?;
    let mut fleet = Processes::start(folder.path(), create_stores().await?, &env, &[]).await?;
    let fresh = chassis::trace::fresh();
    let trace = chassis::trace::trace_id(&fresh).context("a fresh trace")?;
    let customer = fleet.client("customer").await?;
    // The first order may fail or be slow while the seven processes are still starting.
    let other = chassis::trace::fresh();
    let other = chassis::trace::trace_id(&other).context("a fresh trace")?;
    eventually("an order is accepted", || async { Ok(place_order(&customer, other).await.ok()) }).await?;
    place_order(&customer, trace).await?;
    let mut span_ids: Vec<BTreeSet<String>> = Vec::new();
    for (name, url) in [("Zipkin", zipkin.as_str()), ("Jaeger", jaeger)] {
        let read = async || {
            if name == "Zipkin" { read_from_zipkin(url, trace).await } else { read_from_jaeger(url, trace).await }
        };
        let before = Mutex::new(0);
        let complete = async || {
            let spans = read().await?;
            // Complete, and without new spans since the previous poll.
            let count = std::mem::replace(&mut *before.lock().unwrap_or_else(PoisonError::into_inner), spans.len());
            let complete = count == spans.len() && is_complete(&spans);
            if !complete {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(complete.then_some(spans))
        };
        match eventually(&format!("the complete trace is in {name}"), complete).await {
            Ok(spans) => {
                print_result(&format!("{name}: trace {trace}: {}", summary(&spans)));
                span_ids.push(spans.into_iter().map(|(id, _, _)| id).collect());
            }
            Err(error) => {
                let spans = read().await?;
                return Err(error.context(format!("{}: {spans:?}", summary(&spans))));
            }
        }
    }
    ensure!(span_ids.windows(2).all(|pair| pair[0] == pair[1]), "the collectors have different spans: {span_ids:?}");
    fleet.terminate().await
}
