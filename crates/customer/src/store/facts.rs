//! What the audit reads about customers, prospects and activities.

use commerce::Timestamp;

/// One customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFact {
    /// Its id.
    pub id: String,
    /// Number of events published so far.
    pub last_sequence: i64,
    /// Whether all personal data was removed.
    pub anonymised: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its last event was published.
    pub updated_at: Timestamp,
}

/// One prospect or activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadFact {
    /// Its id.
    pub id: String,
    /// Number of events published so far; for an activity one, of its creation.
    pub last_sequence: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
