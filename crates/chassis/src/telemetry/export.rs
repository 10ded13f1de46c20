//! Where spans go, and what is told when they do not get there.

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
    let away = Arc::new(AtomicBool::new(false));
    let zipkin = match exporter {
        Exporter::Zipkin { endpoint, timeout } => Some(Zipkin::new(endpoint, *timeout)?),
        Exporter::Otlp => None,
    };
    let mut processors = Vec::new();
    for service in services {
        let away = Arc::clone(&away);
        let mut processor = match &zipkin {
            Some(zipkin) => batch_processor(Told { inner: zipkin.of(service), by: "Zipkin", away }),
            None => {
                let inner = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
                batch_processor(Told { inner, by: "OTLP", away })
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

/// An exporter whose collector may be away: that is told once, and once that it is back.
#[derive(Debug)]
struct Told<E> {
    inner: E,
    by: &'static str,
    /// The same for all services of the process.
    away: Arc<AtomicBool>,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.inner.export(batch).await {
            Ok(()) => {
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!(by = self.by, "the collector of traces takes spans again");
                }
            }
            Err(error) => {
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(by = self.by, spans, %error, "the collector of traces takes no spans; they are lost until it does");
                }
            }
        }
        // What failed is told here; of a failure the SDK would tell each time.
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
