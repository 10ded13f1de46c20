//! What the audit reads of products.

use commerce::Timestamp;

/// One product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductFact {
    /// Its id.
    pub id: String,
    /// Number of events published so far.
    pub last_sequence: i64,
    /// Whether it is out of the catalogue.
    pub deleted: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its last event was published.
    pub updated_at: Timestamp,
}
