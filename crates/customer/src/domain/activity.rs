//! An activity: something that happens on a day, such as a fair, or a change of a prospect.

use std::fmt;

use chassis::FieldError;
use commerce::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Error;
use super::Rules;
use super::change::merge;
use super::prospect::{ERASED, ProspectId};

/// Id of an activity.
pub(crate) type ActivityId = Id<AnActivity>;
/// Marker type of the id.
#[derive(Debug)]
pub(crate) enum AnActivity {}

/// Most characters of a title; a title made from an event is cut there.
pub(crate) const LONGEST_NAME: usize = 300;

/// A day, `YYYY-MM-DD`. Days sort as their texts do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(String);

impl Day {
    /// Parses a day; `None` if it is not in the calendar.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The longer text is RFC 3339 only if the day is one of the calendar.
        let is_day = text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok();
        is_day.then(|| Self(text.to_owned()))
    }

    /// The day of that time, in UTC.
    pub(crate) fn of(time: Timestamp) -> Self {
        Self(time.to_string().chars().take(10).collect())
    }

    /// Takes a text that is known to be a day, as from the store.
    pub(crate) fn trusted(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields of an activity as a client sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required, example = "Trade fair in Berlin")]
    pub(crate) name: Option<String>,
    /// Day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required, format = "date", example = "2026-05-04")]
    pub(crate) date: Option<String>,
    /// The prospect that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prospect_id: Option<String>,
}

/// The checked fields of an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) date: Day,
    pub(crate) prospect_id: Option<ProspectId>,
}

impl Plan {
    /// Checks all fields; the error lists every broken rule.
    pub(crate) fn checked(self) -> Result<Planned, Vec<FieldError>> {
        let mut rules = Rules::default();
        let name = rules.required("name", self.name, LONGEST_NAME);
        let date = self.date.as_deref().and_then(Day::parse);
        match (&self.date, &date) {
            (None, _) => rules.breaks("date", "required", "is required"),
            (Some(_), None) => rules.breaks("date", "date", "a day of the calendar as YYYY-MM-DD"),
            _ => {}
        }
        let prospect_id = self.prospect_id.map(|id| ProspectId::parse(&id));
        if matches!(prospect_id, Some(Err(_))) {
            rules.breaks("prospect_id", "id", "the id of a prospect");
        }
        let date = date.unwrap_or_else(|| Day::trusted(String::new()));
        rules.verdict(Planned { name, date, prospect_id: prospect_id.and_then(Result::ok) })
    }
}

impl Planned {
    /// Applies a merge patch (RFC 7386) and checks the result.
    pub(crate) fn merged(&self, patch: &Value) -> Result<Self, Error> {
        if !patch.is_object() {
            return Err(Error::Unreadable("A merge patch is a JSON object.".into()));
        }
        let plan = Plan {
            name: Some(self.name.clone()),
            date: Some(self.date.to_string()),
            prospect_id: self.prospect_id.clone().map(String::from),
        };
        let mut document = serde_json::to_value(plan).map_err(|_| Error::Defect("an activity is no JSON"))?;
        merge(&mut document, patch.clone());
        let plan: Plan = serde_json::from_value(document).map_err(|error| Error::Unreadable(error.to_string()))?;
        plan.checked().map_err(Error::Invalid)
    }
}

/// An activity as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) id: ActivityId,
    pub(crate) number: i64,
    pub(crate) plan: Planned,
    /// Whether it was made from an event and not by a person.
    pub(crate) by_event: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) version: i64,
    /// Number of events published so far: one, of its creation.
    pub(crate) sequence: i64,
    pub(crate) deleted_at: Option<Timestamp>,
}

/// The event about a prospect that makes an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProspectEvent {
    Created,
    Updated,
}

impl Activity {
    /// A new activity; the store gives it a number.
    pub(crate) fn new(id: ActivityId, plan: Planned, now: Timestamp) -> Self {
        Self {
            id,
            number: 0,
            plan,
            by_event: false,
            created_at: now,
            updated_at: now,
            version: 1,
            sequence: 1,
            deleted_at: None,
        }
    }

    /// The activity that an event about a prospect makes, on the day of the event.
    pub(crate) fn of_prospect(
        id: ActivityId,
        event: ProspectEvent,
        name: &str,
        prospect_id: Option<ProspectId>,
        happened: Timestamp,
        now: Timestamp,
    ) -> Self {
        let plan = Planned { name: named(event, name), date: Day::of(happened), prospect_id };
        Self { by_event: true, ..Self::new(id, plan, now) }
    }

    /// The activity after a change; `None` if the change has no effect.
    pub(crate) fn changed(&self, plan: Planned, now: Timestamp) -> Option<Self> {
        (plan != self.plan).then(|| Self { plan, updated_at: now, version: self.version + 1, ..self.clone() })
    }

    /// The activity without the name of the deleted prospect; `None` if it holds none.
    pub(crate) fn nameless(&self, now: Timestamp) -> Option<Self> {
        let event = if self.plan.name.starts_with(prefix(ProspectEvent::Updated).trim_end()) {
            ProspectEvent::Updated
        } else {
            ProspectEvent::Created
        };
        if !self.by_event {
            return None;
        }
        self.changed(Planned { name: named(event, ERASED), ..self.plan.clone() }, now)
    }

    /// What is stored after its deletion: no field of it.
    pub(crate) fn erased(&self, now: Timestamp) -> Self {
        let plan = Planned { name: ERASED.into(), ..self.plan.clone() };
        Self { plan, deleted_at: Some(now), updated_at: now, version: self.version + 1, ..self.clone() }
    }
}

fn prefix(event: ProspectEvent) -> &'static str {
    match event {
        ProspectEvent::Created => "Prospect created: ",
        ProspectEvent::Updated => "Prospect updated: ",
    }
}

fn named(event: ProspectEvent, name: &str) -> String {
    let sound = name.chars().map(|char| if char.is_control() { ' ' } else { char });
    prefix(event).chars().chain(sound).take(LONGEST_NAME).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_day_is_one_of_the_calendar() {
        for good in ["2026-01-31", "2024-02-29", "0001-01-01", "9999-12-31"] {
            assert!(Day::parse(good).is_some(), "{good}");
        }
        for bad in ["2026-02-29", "2026-13-01", "2026-1-1", "04.05.2026", "", "2026-01-01T", "20260101zz", "２026-1-1"]
        {
            assert!(Day::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Day::of(Timestamp::from_micros(0)).as_str(), "1970-01-01");
    }

    #[test]
    fn a_merge_changes_what_is_named() {
        let plan: Plan =
            serde_json::from_value(json!({"name": "Fair", "date": "2026-05-04", "prospect_id": "p"})).unwrap();
        let plan = plan.checked().unwrap();
        let merged = plan.merged(&json!({"date": "2026-05-05", "prospect_id": null})).unwrap();
        assert_eq!((merged.name.as_str(), merged.date.as_str(), merged.prospect_id), ("Fair", "2026-05-05", None));
        assert!(matches!(plan.merged(&json!({"date": null})), Err(Error::Invalid(_))));
        assert!(matches!(plan.merged(&json!({"colour": 1})), Err(Error::Unreadable(_))));
        assert!(matches!(plan.merged(&json!(5)), Err(Error::Unreadable(_))));
    }

    proptest! {
        #[test]
        fn whatever_the_prospect_is_called_the_activity_can_be_kept_and_made_nameless(name in any::<String>()) {
            for event in [ProspectEvent::Created, ProspectEvent::Updated] {
                let now = Timestamp::from_micros(5);
                let made = Activity::of_prospect(ActivityId::trusted("a".into()), event, &name, None, now, now);
                let kept = Plan { name: Some(made.plan.name.clone()), date: Some("1970-01-01".into()), prospect_id: None };
                prop_assert_eq!(kept.checked().map(|plan| plan.name), Ok(made.plan.name.clone()));
                let nameless = made.nameless(now).map_or(made.plan.name, |after| after.plan.name);
                prop_assert_eq!(nameless, format!("{}Anonymised", prefix(event)));
            }
        }
    }
}
