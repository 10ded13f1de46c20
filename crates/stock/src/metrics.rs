//! Names and meanings of this service's own metrics.

/// Reservations asked for, by what came of them: label `outcome`.
pub(crate) const RESERVATIONS: &str = "stock_reservations_total";
/// Its help text.
pub(crate) const RESERVATIONS_HELP: &str = "Reservations asked for, by outcome.";
/// Reservations past their time, by what the order service said: label `answer`.
pub(crate) const EXPIRED: &str = "stock_expired_total";
/// Its help text.
pub(crate) const EXPIRED_HELP: &str = "Reservations past their time, by whether the order still wants them.";
/// Order events that found the stock in another state than they should: label `kind`.
pub(crate) const MISFITS: &str = "stock_event_misfits_total";
/// Its help text.
pub(crate) const MISFITS_HELP: &str = "Order events that did not fit what was reserved or sold.";
