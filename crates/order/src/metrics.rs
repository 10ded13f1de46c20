//! Names and meanings of the order service's own metrics.

use chassis::Metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

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

#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) outcomes: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) driven: IntGaugeVec,
    pub(crate) takeovers: IntCounterVec,
    pub(crate) lost: IntCounterVec,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meters = Self {
            outcomes: metrics.counter(OUTCOMES, "Sagas that ended, by outcome.", &["outcome"]),
            duration: metrics.histogram(
                DURATION,
                "Seconds from accepting an order to its terminal state.",
                &["outcome"],
            ),
            driven: metrics.gauge(DRIVEN, "Orders that this replica drives now.", &[]),
            takeovers: metrics.counter(TAKEOVERS, "Orders taken over from a replica that is gone.", &[]),
            lost: metrics.counter(LOST_LEASES, "Writes refused because the lease was somebody else's.", &[]),
        };
        // Shown as zero from the start, so that an alert can tell "none" from "gone".
        for counter in [&meters.takeovers, &meters.lost] {
            counter.with_label_values::<&str>(&[]).reset();
        }
        meters
    }
}
