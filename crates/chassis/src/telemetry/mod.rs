//! Logs and spans of the process, set up once by its main function.
//!
//! One subscriber serves all services of a process. Each span is exported with the `service.name` of its service.

mod export;
mod per_service;
mod zipkin;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config;

/// Default endpoint and time-out of Zipkin, as the OpenTelemetry specification sets them.
const ZIPKIN: (&str, Duration) = ("http://localhost:9411/api/v2/spans", Duration::from_secs(10));

/// Options of logging and tracing.
#[derive(Clone, Debug)]
pub struct Options {
    /// One JSON object per line instead of text.
    pub json: bool,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Where spans are exported to; empty to export none.
    pub exporters: Vec<Exporter>,
    /// Values in `OTEL_TRACES_EXPORTER` that are not known.
    pub unknown: Vec<String>,
}

/// A protocol to export spans by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// OTLP over gRPC; the exporter reads the `OTEL_EXPORTER_OTLP_…` variables.
    Otlp,
    /// Zipkin's own format.
    Zipkin {
        /// The URL that spans are posted to.
        endpoint: String,
        /// Time-out of a request.
        timeout: Duration,
    },
}

impl Options {
    /// Reads `SOUK_LOG_FORMAT`, `RUST_LOG` (default `info`) and the `OTEL_…` variables.
    pub fn from_env() -> Self {
        let (exporters, unknown) = exporters(&config::var);
        Self {
            json: config::var("SOUK_LOG_FORMAT").is_some_and(|format| format == "json"),
            filter: config::var("RUST_LOG").unwrap_or_else(|| "info".into()),
            exporters,
            unknown,
        }
    }
}

/// Reads the variables as the OpenTelemetry specification defines them, with one exception: if none of them is set, no spans
/// are exported, instead of to a collector on this machine. Also returns the values that are not known.
fn exporters(var: &dyn Fn(&str) -> Option<String>) -> (Vec<Exporter>, Vec<String>) {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    if var("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
        return (found, unknown);
    }
    let zipkin = || Exporter::Zipkin {
        endpoint: var("OTEL_EXPORTER_ZIPKIN_ENDPOINT").unwrap_or_else(|| ZIPKIN.0.into()),
        timeout: var("OTEL_EXPORTER_ZIPKIN_TIMEOUT")
            .and_then(|millis| millis.parse().ok())
            .map_or(ZIPKIN.1, Duration::from_millis),
    };
    match var("OTEL_TRACES_EXPORTER") {
        Some(words) => {
            for word in words.split(',').map(str::trim) {
                match word {
                    "otlp" => found.push(Exporter::Otlp),
                    "zipkin" => found.push(zipkin()),
                    "none" | "" => {}
                    other => unknown.push(other.to_owned()),
                }
            }
        }
        None => {
            let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
            if names.into_iter().any(|name| var(name).is_some()) {
                found.push(Exporter::Otlp);
            } else if var("OTEL_EXPORTER_ZIPKIN_ENDPOINT").is_some() {
                found.push(zipkin());
            }
        }
    }
    (found, unknown)
}

/// Why logs and spans could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be parsed.
    #[error("RUST_LOG is {value:?}, which is not a valid filter")]
    Filter {
        /// The value.
        value: String,
        #[source]
        /// The reason.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter rejects its settings.
    #[error("OTEL_EXPORTER_OTLP_… settings are invalid")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The URL of Zipkin is invalid.
    #[error("OTEL_EXPORTER_ZIPKIN_ENDPOINT is {value:?}, but must be a URL such as {}", ZIPKIN.0)]
    Zipkin {
        /// The value.
        value: String,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client for Zipkin cannot be built")]
    Client(#[source] reqwest::Error),
    /// The process already has a subscriber.
    #[error("logging is already set up in this process")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the exporters alive; dropping it flushes the spans that have not been sent yet.
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(err) = self.provider.shutdown() {
            tracing::debug!(error = %err, "exporter did not shut down cleanly");
        }
    }
}

/// Libraries that log every connection failure as an error. Their callers get the same errors and log them once. `RUST_LOG`
/// can turn them on.
const SILENCED: &str = "lapin=off";

/// Sets up logs on stderr and traces for the named services, once per process, inside its runtime.
pub fn init(services: &[&str]) -> Result<Guard, TelemetryError> {
    init_with(services, &Options::from_env())
}

/// As [`init`], with the options given.
pub fn init_with(services: &[&str], options: &Options) -> Result<Guard, TelemetryError> {
    let filter = EnvFilter::try_new(format!("{SILENCED},{}", options.filter))
        .map_err(|source| TelemetryError::Filter { value: options.filter.clone(), source })?;
    let logs = if options.json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed()
    };
    let provider = provider(services, options)?;
    tracing_subscriber::registry().with(span_layer(&provider)).with(logs.with_filter(filter)).try_init()?;
    tracing::info!(version = crate::VERSION, commit = crate::COMMIT, "starting");
    for word in &options.unknown {
        tracing::warn!(
            "OTEL_TRACES_EXPORTER says {word:?}, which is unknown; the known exporters are otlp, zipkin and none"
        );
    }
    Ok(Guard { provider })
}

/// The layer that gives spans their trace ids. It also works without an exporter, so that errors, logs and events always
/// have a trace id; it has a filter of its own, so that `RUST_LOG` cannot turn it off.
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

/// Enables trace ids for the whole process without logs or exporters, for tests that compare them.
pub fn ids_only() {
    let provider = SdkTracerProvider::builder().build();
    // Fails in the second test of a process, where it is set up already.
    let _ = tracing_subscriber::registry().with(span_layer(&provider)).try_init();
}

fn provider(services: &[&str], options: &Options) -> Result<SdkTracerProvider, TelemetryError> {
    let mut builder = SdkTracerProvider::builder();
    for exporter in &options.exporters {
        builder = builder.with_span_processor(export::processor(exporter, services)?);
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> (Vec<Exporter>, Vec<String>) {
        exporters(&|name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn zipkin(endpoint: &str) -> Exporter {
        Exporter::Zipkin { endpoint: endpoint.into(), timeout: ZIPKIN.1 }
    }

    #[test]
    fn spans_go_where_the_variables_say() {
        let there = "http://zipkin:9411/api/v2/spans";
        let (otlp_at, zipkin_at) =
            (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://jaeger:4317"), ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", there));
        assert_eq!(read(&[]).0, []);
        assert_eq!(read(&[otlp_at]).0, [Exporter::Otlp]);
        assert_eq!(read(&[zipkin_at]).0, [zipkin(there)]);
        assert_eq!(read(&[otlp_at, zipkin_at]).0, [Exporter::Otlp], "the specification's default");
        assert_eq!(read(&[otlp_at, zipkin_at, ("OTEL_TRACES_EXPORTER", "zipkin")]).0, [zipkin(there)]);
        assert_eq!(read(&[("OTEL_TRACES_EXPORTER", "zipkin")]).0, [zipkin(ZIPKIN.0)]);
        assert_eq!(read(&[zipkin_at, ("OTEL_TRACES_EXPORTER", "otlp, zipkin")]).0, [Exporter::Otlp, zipkin(there)]);
        assert_eq!(read(&[otlp_at, ("OTEL_TRACES_EXPORTER", "none")]).0, []);
        assert_eq!(read(&[otlp_at, ("OTEL_SDK_DISABLED", "TRUE")]).0, []);
        assert_eq!(read(&[("OTEL_TRACES_EXPORTER", "zipkn")]), (vec![], vec!["zipkn".to_owned()]));
    }
}
