//! What the audit reads of products.

use commerce::Timestamp;

/// One product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductFact {
    /// Its id.
    pub id: String,
    /// Events told so far.
    pub last_sequence: i64,
    /// Whether it is out of the catalogue.
    pub deleted: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the last event was told.
    pub updated_at: Timestamp,
}
