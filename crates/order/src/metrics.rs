//! The metrics of the order service.

use chassis::Metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// Orders whose checkout began.
pub const BEGUN: &str = "saga_begun_total";
/// Ended sagas by `outcome`: confirmed, cancelled_stock, cancelled_payment, cancelled_other.
pub const OUTCOMES: &str = "saga_outcomes_total";
/// Seconds from placing an order to its terminal state.
pub const DURATION: &str = "saga_duration_seconds";
/// Sagas that run in this replica.
pub const DRIVEN: &str = "sagas_driven";
/// Orders taken over after their lease expired.
pub const TAKEOVERS: &str = "saga_takeovers_total";
/// Sagas that ended because their lease was lost.
pub const LOST_LEASES: &str = "saga_lost_leases_total";
/// Orders with pending work by `age` of their last change: one of [`AGES`]. Each replica counts the whole store, so use the
/// maximum over the replicas, not the sum.
pub const OPEN: &str = "sagas_open";
/// The values of the label `age`, youngest first.
pub const AGES: [&str; 4] = ["<10s", "<60s", "<300s", "older"];
/// The limits between the ages, in seconds.
pub(crate) const AGE_BOUNDS: [u64; 3] = [10, 60, 300];
/// The values of the label `outcome`.
const OUTCOME_LABELS: [&str; 4] = ["confirmed", "cancelled_stock", "cancelled_payment", "cancelled_other"];

#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) started: IntCounterVec,
    pub(crate) outcomes: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) active: IntGaugeVec,
    pub(crate) takeovers: IntCounterVec,
    pub(crate) lost_leases: IntCounterVec,
    pub(crate) open: IntGaugeVec,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meters = Self {
            started: metrics.counter(BEGUN, "Orders whose checkout began.", &[]),
            outcomes: metrics.counter(OUTCOMES, "Ended sagas by outcome.", &["outcome"]),
            duration: metrics.histogram(DURATION, "Seconds from placing an order to its terminal state.", &["outcome"]),
            active: metrics.gauge(DRIVEN, "Sagas that run in this replica.", &[]),
            takeovers: metrics.counter(TAKEOVERS, "Orders taken over after their lease expired.", &[]),
            lost_leases: metrics.counter(LOST_LEASES, "Sagas that ended because their lease was lost.", &[]),
            open: metrics.gauge(
                OPEN,
                "Orders of the whole store with pending work, by age of their last change.",
                &["age"],
            ),
        };
        // Present with 0 from the start, so that an alert can tell "none" from "not scraped".
        for counter in [&meters.started, &meters.takeovers, &meters.lost_leases] {
            counter.with_label_values::<&str>(&[]).reset();
        }
        for outcome in OUTCOME_LABELS {
            meters.outcomes.with_label_values(&[outcome]).reset();
            // The access creates the series.
            meters.duration.with_label_values(&[outcome]);
        }
        for age in AGES {
            meters.open.with_label_values(&[age]).set(0);
        }
        meters
    }
}
