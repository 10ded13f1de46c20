//! The metrics of one service, in a registry of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// Upper bounds in seconds that suit requests and storage alike.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics registry of one service. Cheap to clone; asking for a metric twice gives the same one.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    counters: HashMap<String, IntCounterVec>,
    gauges: HashMap<String, IntGaugeVec>,
    histograms: HashMap<String, HistogramVec>,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry itself, for collectors of another kind.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Tells what runs here: `souk_build_info`, and on Linux memory, files, processor time and threads of the process,
    /// which are the same for all services in it.
    pub(crate) fn describe(&self, service: &str) {
        let build =
            self.gauge("souk_build_info", "1: version and commit of what runs.", &["service", "version", "commit"]);
        build.with_label_values(&[service, crate::VERSION, crate::COMMIT]).set(1);
        // Refused where it is there already.
        #[cfg(target_os = "linux")]
        let _ = self.registry.register(Box::new(ProcessCollector::for_self()));
    }

    /// A counter by its labels.
    ///
    /// # Panics
    /// When name or labels are not what Prometheus allows; they are constants of the program.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let mut known = self.known();
        let make = || register(&self.registry, IntCounterVec::new(Opts::new(name, help), labels), name);
        known.counters.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// A gauge by its labels.
    ///
    /// # Panics
    /// When name or labels are not what Prometheus allows; they are constants of the program.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let mut known = self.known();
        let make = || register(&self.registry, IntGaugeVec::new(Opts::new(name, help), labels), name);
        known.gauges.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// A histogram of seconds by its labels.
    ///
    /// # Panics
    /// When name or labels are not what Prometheus allows; they are constants of the program.
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.histogram_with(name, help, labels, SECONDS)
    }

    /// A histogram with its own upper bounds, such as sizes of batches.
    ///
    /// # Panics
    /// When name or labels are not what Prometheus allows; they are constants of the program.
    pub fn histogram_with(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let mut known = self.known();
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let make = || register(&self.registry, HistogramVec::new(opts, labels), name);
        known.histograms.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// Everything in the text format of Prometheus.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|err| format!("# {err}\n"))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic in here leaves the maps whole, so poison means nothing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>, name: &str) -> C {
    let metric = metric.unwrap_or_else(|err| panic!("metric {name}: {err}"));
    if let Err(err) = registry.register(Box::new(metric.clone())) {
        panic!("metric {name}: {err}");
    }
    metric
}
