//! Logs and spans of the process, set up once by its main function.
//!
//! One subscriber serves all services of a process; spans are exported under the `service.name` of the
//! service that they belong to.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{Span as _, SpanId, TraceContextExt, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config;

/// How the process reports.
#[derive(Clone, Debug)]
pub struct Options {
    /// One JSON object per line instead of text.
    pub json: bool,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Whether spans are exported by OTLP; the exporter reads the `OTEL_EXPORTER_OTLP_…` variables.
    pub export: bool,
}

impl Options {
    /// Reads `SOUK_LOG_FORMAT`, `RUST_LOG` (default `info`) and the `OTEL_…` variables.
    pub fn from_env() -> Self {
        let endpoint =
            config::var("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| config::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
        let none = config::var("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none")
            || config::var("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true"));
        Self {
            json: config::var("SOUK_LOG_FORMAT").is_some_and(|format| format == "json"),
            filter: config::var("RUST_LOG").unwrap_or_else(|| "info".into()),
            export: endpoint.is_some() && !none,
        }
    }
}

/// Why logs and spans could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG is {value:?}, which is no filter")]
    Filter {
        /// What was given.
        value: String,
        #[source]
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter refuses its settings.
    #[error("OTEL_EXPORTER_OTLP_… settings are refused")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The process has a subscriber already.
    #[error("logging is set up twice in this process")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the exporter alive; dropping it sends what has not been sent yet.
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(err) = self.provider.shutdown() {
            tracing::debug!(error = %err, "exporter did not end cleanly");
        }
    }
}

/// Libraries that log each failure of a connection as an error, over and over. Whoever uses them is given the same
/// errors and tells them once. `RUST_LOG` can turn them on.
const QUIET: &str = "lapin=off";

/// Sets up logs on stderr and traces for the named services, once per process, inside its runtime.
pub fn init(services: &[&str]) -> Result<Guard, TelemetryError> {
    init_with(services, &Options::from_env())
}

/// As [`init`], with the options given.
pub fn init_with(services: &[&str], options: &Options) -> Result<Guard, TelemetryError> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", options.filter))
        .map_err(|source| TelemetryError::Filter { value: options.filter.clone(), source })?;
    let logs = if options.json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed()
    };
    let provider = provider(services, options)?;
    tracing_subscriber::registry().with(span_layer(&provider)).with(logs.with_filter(filter)).try_init()?;
    Ok(Guard { provider })
}

/// The layer that gives spans their trace ids. It works without any exporter, so that errors, logs and
/// events always have a trace id; its own filter keeps that so whatever `RUST_LOG` says.
fn span_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("souk"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(LevelFilter::INFO)
}

/// Trace ids for the whole process without logs or exporters, for tests that look at them.
pub fn ids_only() {
    let provider = SdkTracerProvider::builder().build();
    // The second test of a process finds it set up already.
    let _ = tracing_subscriber::registry().with(span_layer(&provider)).try_init();
}

fn provider(services: &[&str], options: &Options) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder();
    if !options.export {
        return Ok(builder.build());
    }
    let mut lanes = Vec::new();
    for service in services {
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let mut lane = BatchSpanProcessor::builder(exporter).build();
        lane.set_resource(&Resource::builder().with_service_name((*service).to_owned()).build());
        lanes.push(((*service).to_owned(), lane));
    }
    Ok(builder.with_span_processor(ByService { lanes, open: Mutex::default() }).build())
}

/// Gives each ended span to the exporter of its service: told by its `service` field, else by the span
/// that it is within, else by the crate at the head of its target.
#[derive(Debug)]
struct ByService {
    lanes: Vec<(String, BatchSpanProcessor)>,
    open: Mutex<HashMap<SpanId, usize>>,
}

impl ByService {
    fn lane(&self, name: &str) -> Option<usize> {
        self.lanes.iter().position(|(service, _)| service == name)
    }

    fn lane_of(&self, data: &SpanData) -> Option<usize> {
        let attribute = |name: &str| {
            data.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.as_str().into_owned())
        };
        let head = |target: String| target.split("::").next().map(str::to_owned);
        attribute("service")
            .and_then(|name| self.lane(&name))
            .or_else(|| attribute("target").and_then(head).and_then(|name| self.lane(&name)))
    }
}

impl SpanProcessor for ByService {
    fn on_start(&self, span: &mut Span, cx: &OtelContext) {
        let own = span.exported_data().and_then(|data| {
            let named = data.attributes.iter().any(|pair| pair.key.as_str() == "service");
            named.then(|| self.lane_of(&data)).flatten()
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let inherited = || open.get(&cx.span().span_context().span_id()).copied();
        if let Some(lane) = own.or_else(inherited) {
            open.insert(span.span_context().span_id(), lane);
        }
    }

    fn on_end(&self, span: SpanData) {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&span.span_context.span_id());
        let lane = known.or_else(|| self.lane_of(&span)).unwrap_or(0);
        if let Some((_, processor)) = self.lanes.get(lane) {
            processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.lanes.iter().try_for_each(|(_, processor)| processor.force_flush())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.lanes.iter().try_for_each(|(_, processor)| processor.shutdown_with_timeout(timeout))
    }
}
