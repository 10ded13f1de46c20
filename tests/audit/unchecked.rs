//! Columns that the audit does not check, each with the reason. `*` stands for any service, or for any column.

const MADE_ANEW: &str = "made of other columns, for searches";
const FOR_REPEATS: &str = "distinguishes a repeat from a clash; pruned after a time, so its absence proves nothing";
const ACCESS: &str = "who may log in, which is no promise about goods, money or events";
const NEXT_START: &str = "says what is still to be done; the next start does it, and what it then does is checked";
const COUNTED: &str = "counts changes for conditional requests; some changes have no event";
const CHANGED: &str = "when it was changed last; some changes have no event";
const WISH: &str = "a wish, which the checkout reads anew from the catalogue";
const PROVIDER: &str =
    "the sandbox's own books, which a real provider keeps; the payments are checked by their operations";
const READ_ANEW: &str = "which relay publishes a row, and when it was; a row that is published twice takes effect once";
const LEASE: &str = "who does a piece of work now; a lease that is wrong expires";
const SETTING: &str = "changed by people and programs without an event";
const PLACE: &str = "reference data without events; the numbers and the stock of places are checked";
const FOR_PEOPLE: &str = "a text for people";
const HANDED: &str = "when it was written, for pruning";
const NOT_USED: &str = "not used: every store has the same tables for its events";
const ENGINE: &str = "of the migrations";
const PERSONAL: &str = "compared with the last event where that has it, as the columns with a fault are; a value where there was none is not found";

const REASONS: &[(&str, &str)] = &[
    ("*._sqlx_migrations.*", ENGINE),
    ("*.idempotency.*", FOR_REPEATS),
    ("*.answers.*", FOR_REPEATS),
    ("*.leases.*", LEASE),
    ("*.outbox.id", READ_ANEW),
    ("*.outbox.shard", READ_ANEW),
    ("*.outbox.published_at", READ_ANEW),
    ("*.outbox.created_at", HANDED),
    ("*.inbox.at", HANDED),
    ("*.inbox.event_id", "for people, and a mark of what waits for a dead letter, which is checked"),
    ("payment.inbox.*", NOT_USED),
    ("product.inbox.*", NOT_USED),
    ("customer.inbox.*", NOT_USED),
    ("notification.outbox.*", NOT_USED),
    ("customer.counters.last", "numbers of customers, prospects and activities have no gaps, which is checked"),
    ("*.pruned.name", "names the table of the mark"),
    ("*.counters.kind", "names the counter"),
    ("*.counters.name", "names the counter"),
    ("order.orders.version", COUNTED),
    ("order.orders.updated_at", CHANGED),
    ("order.orders.archived", SETTING),
    ("order.orders.notes", SETTING),
    ("order.orders.metadata", SETTING),
    ("order.orders.payload_hash", FOR_REPEATS),
    ("order.orders.refusal", FOR_REPEATS),
    ("order.orders.work", NEXT_START),
    ("order.orders.lease_*", LEASE),
    ("order.orders.cart_id", "ends the cart's checkout, which is checked"),
    ("order.order_lines.position", "the order of lines, which their returns name"),
    ("order.returns.payload_hash", FOR_REPEATS),
    ("order.returns.created_at", "the order of returns"),
    ("order.carts.*", WISH),
    ("order.cart_items.*", WISH),
    ("order.sales_summary.*", "the keys of sums that are checked"),
    ("order.withdrawals.*", NEXT_START),
    ("payment.payments.updated_at", CHANGED),
    ("payment.payments.claimed_until", LEASE),
    ("payment.operations.note", FOR_PEOPLE),
    ("payment.sandbox_balances.*", PROVIDER),
    ("payment.sandbox_calls.reason", FOR_PEOPLE),
    ("payment.sandbox_calls.at", HANDED),
    ("stock.places.*", PLACE),
    ("stock.levels.product_id", "its other columns are then those of another level, which are checked"),
    ("stock.levels.place_id", "its other columns are then those of another level, which are checked"),
    ("stock.levels.threshold", SETTING),
    ("stock.reservations.*_at", "expiry and times of change, which have no event"),
    ("stock.adjustments.reason", FOR_PEOPLE),
    ("stock.adjustments.actor", FOR_PEOPLE),
    ("stock.adjustments.at", FOR_PEOPLE),
    ("stock.ledger.reason", FOR_PEOPLE),
    ("stock.ledger.actor", FOR_PEOPLE),
    ("stock.ledger.at", FOR_PEOPLE),
    ("stock.replenishments.reason", FOR_PEOPLE),
    ("stock.replenishments.created_at", "not in events"),
    ("product.products.search", MADE_ANEW),
    ("product.products.created_from", FOR_REPEATS),
    ("product.products.deleted_at", "the event of the deletion is checked to be there"),
    ("customer.users.*", ACCESS),
    ("customer.tokens.*", ACCESS),
    ("customer.signing_keys.*", ACCESS),
    ("customer.customers.search", MADE_ANEW),
    ("customer.customers.email_lower", MADE_ANEW),
    ("customer.customers.created_from", FOR_REPEATS),
    ("customer.customers.*", PERSONAL),
    ("customer.prospects.search", MADE_ANEW),
    ("customer.prospects.*", PERSONAL),
    (
        "customer.activities.*",
        "the title, date and prospect of an activity change without an event; the rest is compared with its event",
    ),
    ("notification.notifications.number", "the order of the live stream"),
    ("notification.notifications.at", FOR_PEOPLE),
    ("notification.notifications.severity", FOR_PEOPLE),
    ("notification.notifications.message", FOR_PEOPLE),
    ("bus.log.position", READ_ANEW),
    ("bus.log.at", HANDED),
    ("bus.offsets.grp", "names the group"),
    ("bus.offsets.topic", "names the topic"),
];

/// Why a column is not checked, if it is not.
pub(crate) fn reason(column: &str) -> Option<&'static str> {
    REASONS.iter().find(|(pattern, _)| matches(pattern, column)).map(|(_, reason)| *reason)
}

/// The patterns of all columns that are not checked.
pub(crate) fn patterns() -> impl Iterator<Item = &'static str> {
    REASONS.iter().map(|(pattern, _)| *pattern)
}

/// Whether a column is one of a pattern, part by part.
pub(crate) fn matches(pattern: &str, column: &str) -> bool {
    let (pattern, column): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), column.split('.').collect());
    let part = |(pattern, part): (&&str, &&str)| match pattern.split_once('*') {
        Some((begin, end)) => part.starts_with(begin) && part.ends_with(end),
        None => pattern == part,
    };
    pattern.len() == column.len() && pattern.iter().zip(&column).all(part)
}
