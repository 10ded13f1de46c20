//! A prospect: a person who may become a customer.

use chassis::FieldError;
use commerce::{CustomerId, Id, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Error;
use super::activity::ActivityId;
use super::change::merge;
use super::stage::{Moved, Stage};
use super::{Profile, Rules};

/// Name of a deleted prospect.
pub(crate) const ERASED: &str = "Anonymised";

/// Id of a prospect.
pub(crate) type ProspectId = Id<AProspect>;
/// Marker type of the id.
#[derive(Debug)]
pub(crate) enum AProspect {}

/// The fields of a prospect as a client sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lead {
    /// First name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required, example = "Ada")]
    pub(crate) first_name: Option<String>,
    /// Last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required, example = "Lovelace")]
    pub(crate) last_name: Option<String>,
    /// Employer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Analytical Engines Ltd")]
    pub(crate) company: Option<String>,
    /// E-mail address; a conversion finds an existing customer by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "ada@example.org")]
    pub(crate) email: Option<String>,
    /// Phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "+44 20 1234")]
    pub(crate) phone: Option<String>,
    /// Field of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required, example = "mathematics")]
    pub(crate) field: Option<String>,
    /// Id of the user in charge of the prospect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// Id of the activity at which contact was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) activity_id: Option<String>,
}

impl Lead {
    /// Checks all fields; the error lists every broken rule.
    pub(crate) fn checked(self) -> Result<Self, Vec<FieldError>> {
        let mut rules = Rules::default();
        if self.owner.as_deref().is_some_and(|owner| UserId::parse(owner).is_err()) {
            rules.breaks("owner", "id", "the id of a user");
        }
        if self.activity_id.as_deref().is_some_and(|id| ActivityId::parse(id).is_err()) {
            rules.breaks("activity_id", "id", "the id of an activity");
        }
        let checked = Self {
            first_name: Some(rules.required("first_name", self.first_name, 100)),
            last_name: Some(rules.required("last_name", self.last_name, 100)),
            company: rules.optional("company", self.company, 200),
            email: self.email.map(|email| rules.email("email", &email)),
            phone: self.phone.map(|phone| rules.phone("phone", &phone)),
            field: Some(rules.required("field", self.field, 100)),
            owner: self.owner,
            activity_id: self.activity_id,
        };
        rules.verdict(checked)
    }

    /// The profile of the customer that the prospect becomes.
    pub(crate) fn profile(&self) -> Profile {
        Profile {
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
            phone: self.phone.clone(),
            ..Profile::default()
        }
    }

    /// The text that a search matches, in lower case.
    pub(crate) fn search_text(&self) -> String {
        let parts = [&self.first_name, &self.last_name, &self.company, &self.email, &self.phone];
        parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join("\n")
    }
}

/// A requested transition of the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) stage: Stage,
    pub(crate) reason: Option<String>,
}

/// A change of a prospect by PUT or PATCH.
#[derive(Clone, Debug)]
pub(crate) enum LeadChange {
    /// Replaces all fields; absent ones are removed, except the stage: a prospect always has one.
    Replace(Value),
    /// A merge patch (RFC 7386): absent fields stay, null removes a field.
    Merge(Value),
}

impl LeadChange {
    /// The checked fields after the change, and the requested transition.
    pub(crate) fn apply(&self, now: &Lead) -> Result<(Lead, Option<Move>), Error> {
        let (mut document, patch) = match self {
            Self::Replace(whole) => (Value::Object(serde_json::Map::new()), whole),
            Self::Merge(patch) => {
                (serde_json::to_value(now).map_err(|_| Error::Defect("a prospect is no JSON"))?, patch)
            }
        };
        let mut patch = patch.clone();
        let Value::Object(members) = &mut patch else {
            return Err(Error::Unreadable("A prospect is a JSON object.".into()));
        };
        let (stage, reason) = (members.remove("stage"), members.remove("reason"));
        let unreadable = |error: serde_json::Error| Error::Unreadable(error.to_string());
        merge(&mut document, patch);
        let lead: Lead = serde_json::from_value(document).map_err(unreadable)?;
        let reason = reason.map(serde_json::from_value::<Option<String>>).transpose().map_err(unreadable)?.flatten();
        let wanted = match stage {
            Some(stage) => Some(serde_json::from_value::<Stage>(stage).map_err(unreadable)?),
            None => None,
        };
        let mut rules = Rules::default();
        let reason = rules.optional("reason", reason, 500);
        match (wanted, &reason) {
            (None, Some(_)) => rules.breaks("reason", "stage", "belongs to a stage; say which"),
            (Some(Stage::Lost), None) => rules.breaks("reason", "required", "is required when a prospect is lost"),
            _ => {}
        }
        let wanted = wanted.map(|stage| Move { stage, reason });
        let (lead, wanted) = match (lead.checked(), rules.verdict(wanted)) {
            (Ok(lead), Ok(wanted)) => (lead, wanted),
            (lead, wanted) => {
                let broken = [lead.err(), wanted.err()].into_iter().flatten().flatten().collect();
                return Err(Error::Invalid(broken));
            }
        };
        Ok((lead, wanted))
    }
}

/// A prospect as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prospect {
    pub(crate) id: ProspectId,
    pub(crate) number: i64,
    pub(crate) lead: Lead,
    pub(crate) stage: Stage,
    /// Every transition, oldest first; the first one leads to `new`.
    pub(crate) history: Vec<Moved>,
    /// The customer that the prospect became.
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) version: i64,
    /// Number of events published so far.
    pub(crate) sequence: i64,
    pub(crate) deleted_at: Option<Timestamp>,
}

impl Prospect {
    /// A new prospect; the store gives it a number.
    pub(crate) fn new(id: ProspectId, lead: Lead, actor: &str, now: Timestamp) -> Self {
        Self {
            id,
            number: 0,
            lead,
            stage: Stage::New,
            history: vec![Moved { at: now, actor: actor.to_owned(), stage: Stage::New, reason: None }],
            customer_id: None,
            created_at: now,
            updated_at: now,
            version: 1,
            sequence: 1,
            deleted_at: None,
        }
    }

    fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, version: self.version + 1, sequence: self.sequence + 1, ..self.clone() }
    }

    /// The prospect after a change and a transition, if one is requested; `None` if neither has an effect.
    pub(crate) fn changed(
        &self,
        lead: Lead,
        wanted: Option<Move>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let wanted = wanted.filter(|wanted| wanted.stage != self.stage);
        if lead == self.lead && wanted.is_none() {
            return Ok(None);
        }
        let mut after = Self { lead, ..self.next(now) };
        if let Some(Move { stage, reason }) = wanted {
            after.go(stage, reason, actor, now)?;
        }
        Ok(Some(after))
    }

    fn go(&mut self, stage: Stage, reason: Option<String>, actor: &str, now: Timestamp) -> Result<(), Error> {
        if !self.stage.may_become(stage) {
            return Err(Error::StageMove { from: self.stage.as_str(), to: stage.as_str() });
        }
        self.stage = stage;
        self.history.push(Moved { at: now, actor: actor.to_owned(), stage, reason });
        Ok(())
    }

    /// The prospect after its conversion; `None` if it was converted before.
    pub(crate) fn converted(&self, customer: CustomerId, actor: &str, now: Timestamp) -> Result<Option<Self>, Error> {
        if self.customer_id.is_some() {
            return Ok(None);
        }
        let mut after = Self { customer_id: Some(customer), ..self.next(now) };
        // The stage may be `won` before there is a customer.
        if self.stage != Stage::Won {
            after.go(Stage::Won, None, actor, now)?;
        }
        Ok(Some(after))
    }

    /// What is stored after its deletion: no personal data.
    pub(crate) fn erased(&self, now: Timestamp) -> Self {
        let lead = Lead {
            first_name: Some(ERASED.into()),
            last_name: Some(String::new()),
            field: self.lead.field.clone(),
            ..Lead::default()
        };
        let mut after = Self { lead, deleted_at: Some(now), ..self.next(now) };
        for moved in &mut after.history {
            moved.reason = None;
        }
        after
    }
}

#[cfg(test)]
#[path = "prospect_tests.rs"]
mod tests;
