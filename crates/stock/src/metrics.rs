//! The metrics of this service.

use chassis::Metrics;
use prometheus::{IntCounterVec, IntGauge};

/// Requested reservations by result: label `outcome`.
const RESERVATIONS: &str = "stock_reservations_total";
/// Expired reservations by whether the order still needs them: label `answer`.
const EXPIRED: &str = "stock_expired_total";
/// Order events that contradict the order's stock: label `kind`.
const INCONSISTENCIES: &str = "stock_event_misfits_total";
/// Orders with a held reservation. Each replica reports the whole store, so the maximum is right and not the sum.
const HELD: &str = "stock_reservations_held";
/// Pieces reserved for them, as [`HELD`].
const PIECES: &str = "stock_pieces_held";

/// The values of label `outcome`.
const OUTCOMES: [&str; 5] = ["held", "short", "released", "committed", "invalid"];
/// The values of label `answer`.
const ANSWERS: [&str; 2] = ["released", "kept"];

/// A counter that shows all its label values as zero from the start, so that the first increase is visible.
fn counter_from_zero(metrics: &Metrics, name: &str, help: &str, label: &str, values: &[&str]) -> IntCounterVec {
    let counter = metrics.counter(name, help, &[label]);
    for value in values {
        counter.with_label_values(&[*value]).reset();
    }
    counter
}

/// [`RESERVATIONS`].
pub(crate) fn reservations(metrics: &Metrics) -> IntCounterVec {
    counter_from_zero(metrics, RESERVATIONS, "Requested reservations, by outcome.", "outcome", &OUTCOMES)
}

/// [`EXPIRED`].
pub(crate) fn expired(metrics: &Metrics) -> IntCounterVec {
    let help = "Expired reservations, by whether the order still needs them.";
    counter_from_zero(metrics, EXPIRED, help, "answer", &ANSWERS)
}

/// [`INCONSISTENCIES`], of these kinds of event.
pub(crate) fn inconsistencies(metrics: &Metrics, kinds: &[&str]) -> IntCounterVec {
    counter_from_zero(
        metrics,
        INCONSISTENCIES,
        "Order events that contradict what was reserved or sold.",
        "kind",
        kinds,
    )
}

/// [`HELD`] and [`PIECES`].
pub(crate) fn held(metrics: &Metrics) -> (IntGauge, IntGauge) {
    let gauge = |name, help| metrics.gauge(name, help, &[]).with_label_values::<&str>(&[]);
    (
        gauge(HELD, "Orders with a held reservation, in the whole store."),
        gauge(PIECES, "Pieces reserved for orders, in the whole store."),
    )
}
