//! The part of the store about prospects and activities. The store only persists them: the caller decides what a change
//! means and passes it as an [`Edit`].

use std::sync::Arc;

use bus::NewEvent;
use commerce::Timestamp;
use commerce::page::PageRequest;
use serde_json::Value;

use super::{Render, StoreFuture};
use crate::domain::{Activity, Prospect};
use crate::error::Error;
use crate::events;
use crate::store::LeadFact;
use idempotency::{Key, StoredResponse};

/// What a store has to know of a prospect or an activity.
pub(crate) trait Record: Clone + Send + Sync + 'static {
    /// What it is, for people and for counters.
    const KIND: &'static str;

    /// Its id.
    fn id(&self) -> &str;
    /// Gives it its number, when it is made.
    fn count(&mut self, number: i64);
    /// Its version.
    fn version(&self) -> i64;
    /// Whether it is only a mark of what was deleted.
    fn is_deleted(&self) -> bool;
    /// The event of its creation.
    fn told_first(&self) -> NewEvent;
    /// When it was made.
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

    /// What the audit reads of it.
    fn fact(&self) -> LeadFact {
        LeadFact {
            id: self.id().to_owned(),
            last_sequence: self.sequence(),
            created_at: self.created_at(),
            updated_at: self.updated_at(),
        }
    }
}

macro_rules! record {
    ($type:ident, $kind:literal, $first:path) => {
        impl Record for $type {
            const KIND: &'static str = $kind;

            fn id(&self) -> &str {
                self.id.as_str()
            }

            fn count(&mut self, number: i64) {
                self.number = number;
            }

            fn version(&self) -> i64 {
                self.version
            }

            fn is_deleted(&self) -> bool {
                self.deleted_at.is_some()
            }

            fn told_first(&self) -> NewEvent {
                $first(self)
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

record!(Prospect, "prospect", events::prospect_created);
record!(Activity, "activity", events::activity_created);

/// A change of one record.
#[derive(Clone, Debug)]
pub(crate) struct Step<T> {
    /// What it is then; the version is one more.
    pub(crate) after: T,
    /// Its event, written in the same unit.
    pub(crate) tells: Option<NewEvent>,
    /// The payload that replaces all earlier ones where personal data is removed; stored responses are deleted with it.
    pub(crate) erases: Option<Value>,
}

/// Decides a change by the present state; `None` if nothing changes. Called again after a lost race.
pub(crate) type Edit<T> = Arc<dyn Fn(&T) -> Result<Option<Step<T>>, Error> + Send + Sync>;

/// Which prospects are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prospects {
    pub(crate) stage: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) search: Option<String>,
    pub(crate) number: Option<i64>,
}

impl Prospects {
    /// Whether it asks for what no text can hold. SQL engines take a NUL for an end, or for an error.
    pub(super) fn is_futile(&self) -> bool {
        let texts = [&self.stage, &self.field, &self.owner, &self.search];
        texts.into_iter().flatten().any(|text| text.contains('\0'))
    }
}

/// Which activities are asked for. Days are checked before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activities {
    pub(crate) date: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) prospect_id: Option<String>,
    pub(crate) number: Option<i64>,
}

impl Activities {
    pub(super) fn is_futile(&self) -> bool {
        self.prospect_id.as_ref().is_some_and(|id| id.contains('\0'))
    }
}

/// Records in the order of their numbers, and how many there are if that was asked.
pub(crate) type Listed<T> = (Vec<T>, Option<u64>);

/// The store of prospects and activities. A write and its event are one unit; deleted ones are not found.
pub(crate) trait Leads: Send + Sync + 'static {
    /// Makes a prospect; a repeat by key changes nothing.
    fn create_prospect(
        &self,
        new: Prospect,
        key: Option<Key>,
        render: Render<Prospect>,
    ) -> StoreFuture<'_, StoredResponse>;
    /// Returns a prospect.
    fn prospect<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Prospect>>;
    /// Prospects.
    fn prospects(&self, filter: Prospects, window: PageRequest<i64>) -> StoreFuture<'_, Listed<Prospect>>;
    /// Changes a prospect.
    fn edit_prospect<'a>(&'a self, id: &'a str, seen: Option<i64>, edit: Edit<Prospect>) -> StoreFuture<'a, Prospect>;

    /// Makes an activity; a repeat by key changes nothing.
    fn create_activity(
        &self,
        new: Activity,
        key: Option<Key>,
        render: Render<Activity>,
    ) -> StoreFuture<'_, StoredResponse>;
    /// Inserts an activity unless one with its id ever existed; returns whether it did.
    fn note_activity(&self, new: Activity) -> StoreFuture<'_, bool>;
    /// Returns an activity.
    fn activity<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Activity>>;
    /// Activities.
    fn activities(&self, filter: Activities, window: PageRequest<i64>) -> StoreFuture<'_, Listed<Activity>>;
    /// Changes an activity.
    fn edit_activity<'a>(&'a self, id: &'a str, seen: Option<i64>, edit: Edit<Activity>) -> StoreFuture<'a, Activity>;

    /// Every prospect as the auditor sees them, marks of deleted ones too, after an id.
    fn prospect_facts<'a>(&'a self, after: &'a str) -> StoreFuture<'a, Vec<LeadFact>>;
    /// The same of activities.
    fn activity_facts<'a>(&'a self, after: &'a str) -> StoreFuture<'a, Vec<LeadFact>>;
}
