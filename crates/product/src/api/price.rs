//! What fields cost beside the fields of what they return, in the cost of one field of a product. The schema adds them up before it
//! executes a query, and refuses what costs too much.

/// A statement of the store that reads by an index.
pub(super) const READ: usize = 20;
/// One that may read the whole catalogue: to compare a text, to count, to collect categories. Of a hundred thousand products it takes
/// some hundred times as long. A screen has one or two; a request may have nineteen.
pub(super) const SCAN: usize = 1_000;
/// A transaction that is made durable.
pub(super) const WRITE: usize = 100;

/// So many rows. A row itself counts, too: a query may ask for none of its fields.
pub(super) fn rows(count: usize, fields: usize) -> usize {
    READ.saturating_add(count.saturating_mul(fields.saturating_add(1)))
}

/// A page of the catalogue. What is no length of a page is refused later, and costs no rows.
pub(super) fn page(first: i32, fields: usize) -> usize {
    rows(usize::try_from(first).unwrap_or(0), fields).saturating_add(SCAN)
}
