//! What prospects and activities have in common for the store. The store only persists them: the caller decides what a change
//! means and passes it as an [`Edit`].

use std::sync::Arc;

use bus::NewEvent;
use commerce::Timestamp;
use serde_json::Value;

use crate::domain::{Activity, Prospect};
use crate::error::Error;
use crate::events;

/// A prospect or an activity.
pub(crate) trait Record: Clone + Send + Sync + 'static {
    /// Its name in messages and counters.
    const KIND: &'static str;
    /// Which of them a list contains.
    type Filter: Send + 'static;

    /// Whether a text of the filter contains NUL, which SQL engines take for the end of the text or refuse.
    fn is_futile(filter: &Self::Filter) -> bool;
    /// Its id.
    fn id(&self) -> &str;
    /// Its number.
    fn number(&self) -> i64;
    /// Sets its number, when it is created.
    fn set_number(&mut self, number: i64);
    /// Its version.
    fn version(&self) -> i64;
    /// Whether it was deleted; only a mark remains.
    fn is_deleted(&self) -> bool;
    /// The event of its creation.
    fn created_event(&self) -> NewEvent;
    /// What its events show of it.
    fn data(&self) -> Value;
    /// When it was created.
    fn created_at(&self) -> Timestamp;
    /// When it was changed last.
    fn updated_at(&self) -> Timestamp;
    /// Number of events published so far.
    fn sequence(&self) -> i64;

    /// The version, if it is still the one that the caller has seen.
    fn check_seen(&self, seen: Option<i64>) -> Result<(), Error> {
        match seen {
            Some(seen) if seen != self.version() => Err(Error::Stale { version: self.version() }),
            _ => Ok(()),
        }
    }
}

macro_rules! record {
    ($type:ident, $kind:literal, $filter:ident, $first:path, $data:path) => {
        impl Record for $type {
            const KIND: &'static str = $kind;
            type Filter = $filter;

            fn is_futile(filter: &$filter) -> bool {
                filter.texts().into_iter().flatten().any(|text| text.contains('\0'))
            }

            fn id(&self) -> &str {
                self.id.as_str()
            }

            fn number(&self) -> i64 {
                self.number
            }

            fn set_number(&mut self, number: i64) {
                self.number = number;
            }

            fn version(&self) -> i64 {
                self.version
            }

            fn is_deleted(&self) -> bool {
                self.deleted_at.is_some()
            }

            fn created_event(&self) -> NewEvent {
                $first(self)
            }

            fn data(&self) -> Value {
                $data(self)
            }

            fn created_at(&self) -> Timestamp {
                self.created_at
            }

            fn updated_at(&self) -> Timestamp {
                self.updated_at
            }

            fn sequence(&self) -> i64 {
                self.sequence
            }
        }
    };
}

record!(Prospect, "prospect", Prospects, events::prospect_created, events::prospect_data);
record!(Activity, "activity", Activities, events::activity_created, events::activity_data);

/// A change of one record.
#[derive(Clone, Debug)]
pub(crate) struct Step<T> {
    /// The record after the change; its version is one more.
    pub(crate) after: T,
    /// Its event, written in the same unit.
    pub(crate) event: Option<NewEvent>,
    /// The payload that replaces all earlier ones where personal data is removed; stored responses are deleted with it.
    pub(crate) redaction: Option<Value>,
}

/// Decides a change by the present state; `None` if nothing changes. Called again after a lost race.
pub(crate) type Edit<T> = Arc<dyn Fn(&T) -> Result<Option<Step<T>>, Error> + Send + Sync>;

/// The filter of a list of prospects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prospects {
    pub(crate) stage: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) search: Option<String>,
    pub(crate) number: Option<i64>,
}

impl Prospects {
    fn texts(&self) -> [&Option<String>; 4] {
        [&self.stage, &self.field, &self.owner, &self.search]
    }
}

/// The filter of a list of activities. Its days are valid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activities {
    pub(crate) date: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) prospect_id: Option<String>,
    pub(crate) number: Option<i64>,
}

impl Activities {
    fn texts(&self) -> [&Option<String>; 1] {
        [&self.prospect_id]
    }
}
