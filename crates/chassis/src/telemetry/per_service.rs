//! Exports the spans of several services in one process, each under its own service name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanId, TraceContextExt};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};

/// Passes each ended span to the exporter of its service. The service is that of the span's `service` field, else that of
/// its parent span, else the crate at the start of its target.
#[derive(Debug)]
pub(super) struct PerService {
    processors: Vec<(String, BatchSpanProcessor)>,
    open: Mutex<HashMap<SpanId, usize>>,
}

impl PerService {
    pub(super) fn new(processors: Vec<(String, BatchSpanProcessor)>) -> Self {
        Self { processors, open: Mutex::default() }
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.processors.iter().position(|(service, _)| service == name)
    }

    fn index_of(&self, data: &SpanData) -> Option<usize> {
        let attribute = |name: &str| {
            data.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.as_str().into_owned())
        };
        let head = |target: String| target.split("::").next().map(str::to_owned);
        attribute("service")
            .and_then(|name| self.index(&name))
            .or_else(|| attribute("target").and_then(head).and_then(|name| self.index(&name)))
    }
}

impl SpanProcessor for PerService {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        let own = span.exported_data().and_then(|data| {
            let named = data.attributes.iter().any(|pair| pair.key.as_str() == "service");
            named.then(|| self.index_of(&data)).flatten()
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let inherited = || open.get(&cx.span().span_context().span_id()).copied();
        if let Some(index) = own.or_else(inherited) {
            open.insert(span.span_context().span_id(), index);
        }
    }

    fn on_end(&self, span: SpanData) {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&span.span_context.span_id());
        let index = known.or_else(|| self.index_of(&span)).unwrap_or(0);
        if let Some((_, processor)) = self.processors.get(index) {
            processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processors.iter().map(|(_, processor)| processor.force_flush()).fold(Ok(()), Result::and)
    }

    /// Shuts all down in parallel: with an unreachable collector the process waits for one time-out, not for one per service.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        thread::scope(|scope| {
            let ends: Vec<_> = self
                .processors
                .iter()
                .map(|(_, processor)| scope.spawn(move || processor.shutdown_with_timeout(timeout)))
                .collect();
            ends.into_iter().filter_map(|end| end.join().ok()).fold(Ok(()), Result::and)
        })
    }
}
