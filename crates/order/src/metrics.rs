//! Names and meanings of the order service's own metrics.

use chassis::Metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// Orders accepted, each once: their checkout begins.
pub const BEGUN: &str = "saga_begun_total";
/// Sagas that ended, by `outcome`: confirmed, cancelled_stock, cancelled_payment, cancelled_other.
pub const OUTCOMES: &str = "saga_outcomes_total";
/// Seconds from accepting an order to its terminal state.
pub const DURATION: &str = "saga_duration_seconds";
/// Orders that this replica drives now.
pub const DRIVEN: &str = "sagas_driven";
/// Orders taken over from a replica that is gone.
pub const TAKEOVERS: &str = "saga_takeovers_total";
/// Writes refused because the lease was somebody else's.
pub const LOST_LEASES: &str = "saga_lost_leases_total";
/// Orders with something still to be done, by `age` of their last change: one of [`AGES`]. Each replica tells it of the
/// whole store, so the highest is right and not the sum.
pub const OPEN: &str = "sagas_open";
/// What the ages are called, youngest first.
pub const AGES: [&str; 4] = ["<10s", "<60s", "<300s", "older"];
/// Where one age ends and the next begins, in seconds.
pub(crate) const BOUNDS: [u64; 3] = [10, 60, 300];
/// How a saga ends.
const ENDS: [&str; 4] = ["confirmed", "cancelled_stock", "cancelled_payment", "cancelled_other"];

#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) begun: IntCounterVec,
    pub(crate) outcomes: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) driven: IntGaugeVec,
    pub(crate) takeovers: IntCounterVec,
    pub(crate) lost: IntCounterVec,
    pub(crate) open: IntGaugeVec,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meters = Self {
            begun: metrics.counter(BEGUN, "Orders accepted, each once: their checkout begins.", &[]),
            outcomes: metrics.counter(OUTCOMES, "Sagas that ended, by outcome.", &["outcome"]),
            duration: metrics.histogram(
                DURATION,
                "Seconds from accepting an order to its terminal state.",
                &["outcome"],
            ),
            driven: metrics.gauge(DRIVEN, "Orders that this replica drives now.", &[]),
            takeovers: metrics.counter(TAKEOVERS, "Orders taken over from a replica that is gone.", &[]),
            lost: metrics.counter(LOST_LEASES, "Writes refused because the lease was somebody else's.", &[]),
            open: metrics.gauge(
                OPEN,
                "Orders of the whole store with something still to be done, by age of their last change.",
                &["age"],
            ),
        };
        // Shown as zero from the start, so that an alert can tell "none" from "gone".
        for counter in [&meters.begun, &meters.takeovers, &meters.lost] {
            counter.with_label_values::<&str>(&[]).reset();
        }
        for end in ENDS {
            meters.outcomes.with_label_values(&[end]).reset();
            // Asking for it makes it.
            meters.duration.with_label_values(&[end]);
        }
        for age in AGES {
            meters.open.with_label_values(&[age]).set(0);
        }
        meters
    }
}
