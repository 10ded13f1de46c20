//! Names and meanings of this service's own metrics.

/// Operations by what came of them: labels `op` and `outcome`.
pub(crate) const OPERATIONS: &str = "payment_operations_total";
/// Its help text.
pub(crate) const OPERATIONS_HELP: &str = "Operations on payments, by operation and outcome.";
/// Payments that the resolver found in doubt, by whether it could settle them: label `settled`.
pub(crate) const RESOLVED: &str = "payment_resolved_total";
/// Its help text.
pub(crate) const RESOLVED_HELP: &str = "Payments in doubt taken up again, by whether that settled them.";
