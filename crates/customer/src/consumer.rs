//! Consumes `prospect-events` and makes activities of them.
//!
//! Each `prospect.created` and `prospect.updated` of this service makes an activity. So do messages of other programs: a
//! CloudEvent with another source, or plain JSON with a first and a last name, means a prospect created elsewhere. The id of an
//! activity is derived from the event's, so a redelivered event finds it. There is no inbox, since not every store could write it in one
//! unit with the effect.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bus::{Event, Failure, Handler, PLAIN, Relay};
use chassis::Kind;
use commerce::page::PageRequest;
use commerce::{Timestamp, compound_key};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::{Activity, ActivityId, ERASED, Prospect, ProspectEvent, ProspectId};
use crate::error::Error;
use crate::events;
use crate::store::{Activities, Edit, Step, Store};

/// The source of this service's own events.
pub(crate) const OWN: &str = "/souk/customer";
/// Activities that lose a name in one go.
const AT_ONCE: u32 = 100;

/// Makes activities of events about prospects.
pub(crate) struct Listener {
    pub(crate) store: Arc<Store>,
    pub(crate) relay: Relay,
}

/// The fields that are read of this service's own events.
#[derive(Deserialize)]
struct ProspectData {
    id: String,
    first_name: String,
    last_name: String,
}

/// The fields that are read of other programs' messages, in any of their spellings.
#[derive(Deserialize)]
struct Foreign {
    #[serde(alias = "firstName", alias = "firstname")]
    first_name: String,
    #[serde(alias = "lastName", alias = "lastname")]
    last_name: String,
}

/// A foreign message may stand in an envelope that is not quite a CloudEvent.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wrapped {
    Bare(Foreign),
    Inside { data: Foreign },
}

impl Handler for Listener {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        // Each by itself: what was done of a batch that fails is found when it comes again.
        let mut made = false;
        for event in events {
            made |= self.take(event).await?;
        }
        if made {
            self.relay.wake();
        }
        Ok(())
    }

    fn takes_plain(&self, _topic: &str) -> bool {
        true
    }
}

impl Listener {
    async fn take(&self, event: &Event) -> Result<bool, Failure> {
        // Plain JSON with an id is a repeat if its content is the same; without one the position at the broker identifies it.
        let again = event.kind == PLAIN && event.data::<Value>().is_ok_and(|data| !data["id"].is_null());
        let id = activity_of(&event.source, if again { event.data.get() } else { &event.id });
        let now = Timestamp::now();
        if event.source != OWN {
            let foreign = match event.data::<Wrapped>()? {
                Wrapped::Bare(foreign) | Wrapped::Inside { data: foreign } => foreign,
            };
            let name = format!("{} {}", foreign.first_name, foreign.last_name);
            let new = Activity::of_prospect(id, ProspectEvent::Created, &name, None, event.time, now);
            return self.note(new).await;
        }
        let event_kind = match event.kind.as_str() {
            events::PROSPECT_CREATED => ProspectEvent::Created,
            events::PROSPECT_UPDATED => ProspectEvent::Updated,
            events::PROSPECT_DELETED => {
                self.forget(&event.data::<ProspectData>()?.id).await.map_err(failure)?;
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let prospect_data: ProspectData = event.data()?;
        // A replayed event must not bring back the name of a prospect that was deleted meanwhile.
        let name = match self.store.record::<Prospect>(&prospect_data.id).await.map_err(failure)? {
            Some(_) => format!("{} {}", prospect_data.first_name, prospect_data.last_name),
            None => ERASED.to_owned(),
        };
        let prospect = Some(ProspectId::trusted(prospect_data.id));
        self.note(Activity::of_prospect(id, event_kind, name.trim(), prospect, event.time, now)).await
    }

    async fn note(&self, new: Activity) -> Result<bool, Failure> {
        self.store.insert_record_once(new).await.map_err(failure)
    }

    /// Removes the name of a deleted prospect from the activities about it.
    async fn forget(&self, prospect: &str) -> Result<(), Error> {
        let (now, mut after) = (Timestamp::now(), Some(0));
        let edit: Edit<Activity> = Arc::new(move |before: &Activity| {
            let step = |after: Activity| Step { event: None, redaction: Some(events::activity_data(&after)), after };
            Ok(before.nameless(now).map(step))
        });
        while let Some(number) = after.take() {
            let filter = Activities { prospect_id: Some(prospect.to_owned()), ..Activities::default() };
            let window =
                PageRequest { limit: AT_ONCE, after: Some(number), offset: 0, page: None, include_total: false };
            let (rows, _) = self.store.records::<Activity>(filter, window).await?;
            for activity in &rows {
                match self.store.edit_record(activity.id.as_str(), None, Arc::clone(&edit)).await {
                    // Deleted meanwhile, together with the name.
                    Ok(_) | Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            after = rows.last().map(|last| last.number);
        }
        Ok(())
    }
}

/// The id of the activity that an event makes: the same whenever it comes. Ids of events are unique for each source. A line break
/// separates the two, unless one of them contains one: another program chooses both.
pub(crate) fn activity_of(source: &str, event: &str) -> ActivityId {
    let hash = if source.contains('\n') || event.contains('\n') {
        compound_key([source, event])
    } else {
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{source}\n{event}").as_bytes()))
    };
    ActivityId::trusted(format!("event-{hash}"))
}

/// Only the data of an event makes it unusable; a failing store is waited for.
fn failure(error: Error) -> Failure {
    let of_data = match &error {
        Error::Store(store) => store.is_of_data(),
        Error::Documents(store) => store.is_of_data(),
        _ => false,
    };
    if !of_data && matches!(error.kind(), Kind::Internal | Kind::Unavailable) {
        Failure::Later(error.into())
    } else {
        Failure::Bad(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_two_sources_never_make_the_same_activity() {
        assert_ne!(activity_of("/a\nb", "c"), activity_of("/a", "b\nc"));
        // Stored by earlier versions.
        assert_eq!(activity_of("/a", "b").as_str(), "event-bzDzbA8A9fOvEueXhq-Eg25QK1IUWnmUKpYT7rzuuQo");
    }
}
