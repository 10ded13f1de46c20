//! Names and meanings of this service's own metrics.

use chassis::Metrics;
use prometheus::{IntCounterVec, IntGauge};

/// Reservations asked for, by what came of them: label `outcome`.
const RESERVATIONS: &str = "stock_reservations_total";
/// Reservations past their time, by what the order service said: label `answer`.
const EXPIRED: &str = "stock_expired_total";
/// Order events that found the stock in another state than they should: label `kind`.
const INCONSISTENCIES: &str = "stock_event_misfits_total";
/// Orders that goods are set aside for. Each replica tells it of the whole store, so the highest is right and not the sum.
const HELD: &str = "stock_reservations_held";
/// Pieces that are set aside for them, as [`HELD`].
const PIECES: &str = "stock_pieces_held";

/// What may become of a reservation that is asked for.
const OUTCOMES: [&str; 5] = ["held", "short", "released", "committed", "invalid"];
/// What the order service may say of one past its time.
const ANSWERS: [&str; 2] = ["released", "kept"];

/// A counter whose labels are known: each is shown as zero from the start, so that its first increase is seen.
fn known(metrics: &Metrics, name: &str, help: &str, label: &str, values: &[&str]) -> IntCounterVec {
    let counter = metrics.counter(name, help, &[label]);
    for value in values {
        counter.with_label_values(&[*value]).reset();
    }
    counter
}

/// [`RESERVATIONS`].
pub(crate) fn reservations(metrics: &Metrics) -> IntCounterVec {
    known(metrics, RESERVATIONS, "Reservations asked for, by outcome.", "outcome", &OUTCOMES)
}

/// [`EXPIRED`].
pub(crate) fn expired(metrics: &Metrics) -> IntCounterVec {
    let help = "Reservations past their time, by whether the order still wants them.";
    known(metrics, EXPIRED, help, "answer", &ANSWERS)
}

/// [`INCONSISTENCIES`], of these kinds of event.
pub(crate) fn inconsistencies(metrics: &Metrics, kinds: &[&str]) -> IntCounterVec {
    known(metrics, INCONSISTENCIES, "Order events that did not fit what was reserved or sold.", "kind", kinds)
}

/// [`HELD`] and [`PIECES`].
pub(crate) fn held(metrics: &Metrics) -> (IntGauge, IntGauge) {
    let gauge = |name, help| metrics.gauge(name, help, &[]).with_label_values::<&str>(&[]);
    (
        gauge(HELD, "Orders of the whole store that goods are set aside for."),
        gauge(PIECES, "Pieces of the whole store that are set aside for them."),
    )
}
