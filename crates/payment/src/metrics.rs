//! The metrics of this service.

use chassis::Metrics;
use commerce::{Amount, Currency};
use prometheus::{IntCounter, IntCounterVec};

use crate::domain::Op;

/// Operations by the outcome that callers got, including repeats: labels `op` and `outcome`.
const OPERATIONS: &str = "payment_operations_total";
/// Payments in doubt that the resolver has tried to resolve, by success: label `settled`.
const RESOLVED: &str = "payment_resolved_total";
/// Money that has moved, each amount once, in minor units of the configured currency: labels `way` and `currency`.
const MONEY: &str = "payment_money_minor_total";

/// The values of label `outcome`.
const OUTCOMES: [&str; 4] = ["done", "refused", "in_doubt", "invalid"];

/// [`OPERATIONS`], shown as zero from the start, so that the first increase is visible.
pub(crate) fn operations(metrics: &Metrics) -> IntCounterVec {
    let counter = metrics.counter(OPERATIONS, "Operations on payments, by operation and outcome.", &["op", "outcome"]);
    for op in [Op::Authorize, Op::Capture, Op::Void, Op::Refund] {
        for outcome in OUTCOMES {
            counter.with_label_values(&[op.as_str(), outcome]).reset();
        }
    }
    counter
}

/// [`RESOLVED`].
pub(crate) fn resolved(metrics: &Metrics) -> IntCounterVec {
    let help = "Payments in doubt that the resolver has tried to resolve, by success.";
    let counter = metrics.counter(RESOLVED, help, &["settled"]);
    for value in ["yes", "no"] {
        counter.with_label_values(&[value]).reset();
    }
    counter
}

/// Counts [`MONEY`]. Clients may name any currency, so only the configured one is counted.
#[derive(Clone)]
pub(crate) struct MoneyMetrics {
    currency: Currency,
    taken: IntCounter,
    given_back: IntCounter,
}

impl MoneyMetrics {
    pub(crate) fn new(metrics: &Metrics, currency: Currency) -> Self {
        let help = "Money that was captured or given back, in minor units of the configured currency.";
        let counter = metrics.counter(MONEY, help, &["way", "currency"]);
        let way = |way| counter.with_label_values(&[way, currency.as_str()]);
        Self { currency, taken: way("taken"), given_back: way("given_back") }
    }

    /// Counts the money that a committed transaction has moved.
    pub(crate) fn count(&self, moved: &[MovedMoney]) {
        for moved in moved.iter().filter(|moved| moved.currency == self.currency) {
            self.taken.inc_by(u64::try_from(moved.taken.minor()).unwrap_or(0));
            self.given_back.inc_by(u64::try_from(moved.given_back.minor()).unwrap_or(0));
        }
    }
}

/// Money that one operation has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MovedMoney {
    pub(crate) currency: Currency,
    pub(crate) taken: Amount,
    pub(crate) given_back: Amount,
}
