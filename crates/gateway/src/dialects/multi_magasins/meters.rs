//! The metrics of the old fleet's dashboards, in the dialect's own registry, since `events_consumed_total` has other labels in the
//! gateway's.

use std::time::Duration;

use chassis::Metrics;
use prometheus::{HistogramVec, IntCounterVec};

use super::{events::TYPES, orders::ETATS};

/// Counts sagas and events.
#[derive(Clone)]
pub(super) struct Meters {
    success: IntCounterVec,
    failure: IntCounterVec,
    duration: HistogramVec,
    etats: IntCounterVec,
    emitted: IntCounterVec,
    consumed: IntCounterVec,
    latency: HistogramVec,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let meters = Self {
            success: metrics.counter("saga_success_total", "Orders that ended CONFIRMEE.", &[]),
            failure: metrics.counter("saga_failure_total", "Orders that ended ANNULEE.", &[]),
            duration: metrics.histogram("saga_duration_seconds", "Time of an order from its request to its end.", &[]),
            etats: metrics.counter("saga_etat_total", "States that orders reached.", &["etat"]),
            emitted: metrics.counter("events_emitted_total", "Events published on the old topics.", &["type"]),
            consumed: metrics.counter("events_consumed_total", "Events of the fleet that were translated.", &["type"]),
            latency: metrics.histogram(
                "event_processing_latency_seconds",
                "Time from an event to its translation.",
                &[],
            ),
        };
        // Zero from the start, so that a dashboard can distinguish "none" from "missing".
        meters.success.with_label_values::<&str>(&[]).inc_by(0);
        meters.failure.with_label_values::<&str>(&[]).inc_by(0);
        meters.duration.with_label_values::<&str>(&[]);
        meters.latency.with_label_values::<&str>(&[]);
        for (_, etat) in ETATS {
            meters.etats.with_label_values(&[etat]).inc_by(0);
        }
        for kind in TYPES {
            meters.emitted.with_label_values(&[kind]).inc_by(0);
            meters.consumed.with_label_values(&[kind]).inc_by(0);
        }
        meters
    }

    /// Counts the end of a saga.
    pub(super) fn ended(&self, confirmed: bool, etats: &[&str], took: Duration) {
        let outcome = if confirmed { &self.success } else { &self.failure };
        outcome.with_label_values::<&str>(&[]).inc();
        self.duration.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
        for etat in etats {
            self.etats.with_label_values(&[*etat]).inc();
        }
    }

    /// Counts an event that was translated.
    pub(super) fn consumed(&self, kind: &str, latency: Duration) {
        self.consumed.with_label_values(&[kind]).inc();
        self.latency.with_label_values::<&str>(&[]).observe(latency.as_secs_f64());
    }

    /// Counts an event that was published.
    pub(super) fn emitted(&self, kind: &str) {
        self.emitted.with_label_values(&[kind]).inc();
    }
}
