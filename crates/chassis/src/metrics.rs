//! The metrics of one service, in its own registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// Histogram buckets in seconds, for requests and storage alike.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics registry of one service. Cheap to clone. Registering a metric twice returns the same one.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
    registered: Arc<Mutex<Registered>>,
}

#[derive(Debug, Default)]
struct Registered {
    counters: HashMap<String, IntCounterVec>,
    gauges: HashMap<String, IntGaugeVec>,
    histograms: HashMap<String, HistogramVec>,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry itself, for other collectors.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registers `souk_build_info`, and on Linux memory, files, processor time and threads of the process, which are the
    /// same for all services in it.
    pub(crate) fn describe(&self, service: &str) {
        let build = self.gauge(
            "souk_build_info",
            "Always 1; the labels are the version and commit that run.",
            &["service", "version", "commit"],
        );
        build.with_label_values(&[service, crate::VERSION, crate::COMMIT]).set(1);
        // Fails if it is registered already.
        #[cfg(target_os = "linux")]
        let _ = self.registry.register(Box::new(ProcessCollector::for_self()));
    }

    /// A counter with these labels.
    ///
    /// # Panics
    /// When Prometheus does not allow the name or the labels, which are constants of the program.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let mut registered = self.registered();
        let make = || register(&self.registry, IntCounterVec::new(Opts::new(name, help), labels), name);
        registered.counters.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// A gauge with these labels.
    ///
    /// # Panics
    /// When Prometheus does not allow the name or the labels, which are constants of the program.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let mut registered = self.registered();
        let make = || register(&self.registry, IntGaugeVec::new(Opts::new(name, help), labels), name);
        registered.gauges.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// A histogram of seconds with these labels.
    ///
    /// # Panics
    /// When Prometheus does not allow the name or the labels, which are constants of the program.
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.histogram_with(name, help, labels, SECONDS)
    }

    /// A histogram with its own buckets, such as batch sizes.
    ///
    /// # Panics
    /// When Prometheus does not allow the name or the labels, which are constants of the program.
    pub fn histogram_with(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let mut registered = self.registered();
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let make = || register(&self.registry, HistogramVec::new(opts, labels), name);
        registered.histograms.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|err| format!("# {err}\n"))
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        // A panic cannot leave the maps half changed, so poisoning is ignored.
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>, name: &str) -> C {
    let metric = metric.unwrap_or_else(|err| panic!("metric {name}: {err}"));
    if let Err(err) = registry.register(Box::new(metric.clone())) {
        panic!("metric {name}: {err}");
    }
    metric
}
