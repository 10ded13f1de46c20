//! What the audit reads of customers, prospects and activities.

use commerce::Timestamp;

/// One customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFact {
    /// His id.
    pub id: String,
    /// Number of events published so far.
    pub last_sequence: i64,
    /// Whether nothing personal is left of him.
    pub anonymised: bool,
    /// When he was made.
    pub created_at: Timestamp,
    /// When the last event was told.
    pub updated_at: Timestamp,
}

/// One prospect or activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadFact {
    /// Its id.
    pub id: String,
    /// Events told so far; of an activity one, that it was made.
    pub last_sequence: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
