//! Span exporters, and the log lines about their failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor};

use super::per_service::PerService;
use super::zipkin::Zipkin;
use super::{Exporter, TelemetryError};

/// Exports the spans of each service under its own name.
pub(super) fn processor(exporter: &Exporter, services: &[&str]) -> Result<PerService, TelemetryError> {
    let unreachable = Arc::new(AtomicBool::new(false));
    let zipkin = match exporter {
        Exporter::Zipkin { endpoint, timeout } => Some(Zipkin::new(endpoint, *timeout)?),
        Exporter::Otlp => None,
    };
    let mut processors = Vec::new();
    for service in services {
        let unreachable = Arc::clone(&unreachable);
        let mut processor = match &zipkin {
            Some(zipkin) => {
                batch_processor(LogFailuresOnce { inner: zipkin.for_service(service), protocol: "Zipkin", unreachable })
            }
            None => {
                let inner = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
                batch_processor(LogFailuresOnce { inner, protocol: "OTLP", unreachable })
            }
        };
        let resource = Resource::builder()
            .with_service_name((*service).to_owned())
            .with_attribute(KeyValue::new("service.version", crate::RELEASE))
            .build();
        processor.set_resource(&resource);
        processors.push(((*service).to_owned(), processor));
    }
    Ok(PerService::new(processors))
}

fn batch_processor(exporter: impl SpanExporter + 'static) -> BatchSpanProcessor {
    BatchSpanProcessor::builder(exporter).build()
}

/// Wraps an exporter to log once when the collector becomes unreachable, and once when it is reachable again.
#[derive(Debug)]
struct LogFailuresOnce<E> {
    inner: E,
    protocol: &'static str,
    /// Shared by all services of the process.
    unreachable: Arc<AtomicBool>,
}

impl<E: SpanExporter> SpanExporter for LogFailuresOnce<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.inner.export(batch).await {
            Ok(()) => {
                if self.unreachable.swap(false, Ordering::Relaxed) {
                    tracing::info!(protocol = self.protocol, "the trace collector accepts spans again");
                }
            }
            Err(error) => {
                if !self.unreachable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(protocol = self.protocol, spans, %error, "the trace collector accepts no spans; they are lost until it does");
                }
            }
        }
        // Failures are logged here; the SDK would log every one of them.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
