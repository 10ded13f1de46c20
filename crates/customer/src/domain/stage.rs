//! The stages of a prospect and the transitions between them.

use commerce::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The stage of a prospect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Recorded.
    New,
    /// A conversation has taken place.
    Contacted,
    /// Interested, and able to pay.
    Qualified,
    /// A customer. Final.
    Won,
    /// Declined; may be contacted again.
    Lost,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] = [Self::New, Self::Contacted, Self::Qualified, Self::Won, Self::Lost];

    /// The name in the API and in stores.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Contacted => "contacted",
            Self::Qualified => "qualified",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    /// The stage of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }

    /// Whether a transition is allowed. Steps forward may be skipped, none leads back; a lost prospect starts again at
    /// `contacted`.
    pub(crate) fn may_become(self, next: Self) -> bool {
        let open = matches!(self, Self::New | Self::Contacted | Self::Qualified);
        match next {
            Self::New => false,
            Self::Contacted => matches!(self, Self::New | Self::Lost),
            Self::Qualified => matches!(self, Self::New | Self::Contacted),
            Self::Won | Self::Lost => open,
        }
    }
}

/// A transition of the stage, as the history stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Moved {
    /// When.
    pub(crate) at: Timestamp,
    /// Id of the user who made it.
    pub(crate) actor: String,
    /// The new stage.
    pub(crate) stage: Stage,
    /// Reason; always present for `lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}
