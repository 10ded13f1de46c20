//! Where a prospect stands on the way to becoming a customer, and which moves there are.

use commerce::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a prospect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Known by name.
    New,
    /// Somebody has spoken with him.
    Contacted,
    /// He wants what the house has, and can pay for it.
    Qualified,
    /// He buys. Final.
    Won,
    /// He does not; he may be spoken with again.
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

    /// Whether a prospect may be moved from here to there. Steps forward may be left out, none goes back; who is lost
    /// begins again at `contacted`.
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

/// A move from one stage to the next, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Moved {
    /// When.
    pub(crate) at: Timestamp,
    /// Who: a user's id.
    pub(crate) actor: String,
    /// Where to.
    pub(crate) stage: Stage,
    /// Why; always said of a prospect who is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}
