//! The events of this service: `customer.created|updated|anonymised`, `prospect.created|updated|converted|deleted`,
//! `activity.created`.

use bus::NewEvent;
use serde_json::{Value, json};

use crate::domain::{Activity, Customer, Prospect};
use crate::views::{ActivityView, CustomerView, ProspectView};

/// Of customers and activities.
pub(crate) const TOPIC: &str = "customers";
/// Topic of prospects. This service consumes it, too, and makes activities of it, so activities must not be published here.
pub(crate) const PROSPECTS: &str = "prospect-events";

pub(crate) const PROSPECT_CREATED: &str = "souk.prospect.created";
pub(crate) const PROSPECT_UPDATED: &str = "souk.prospect.updated";
pub(crate) const PROSPECT_DELETED: &str = "souk.prospect.deleted";
pub(crate) const PROSPECT_CONVERTED: &str = "souk.prospect.converted";

pub(crate) fn created(customer: &Customer) -> NewEvent {
    tell("souk.customer.created", customer)
}

pub(crate) fn updated(customer: &Customer) -> NewEvent {
    tell("souk.customer.updated", customer)
}

pub(crate) fn anonymised(customer: &Customer) -> NewEvent {
    tell("souk.customer.anonymised", customer)
}

fn tell(kind: &'static str, customer: &Customer) -> NewEvent {
    NewEvent::new(TOPIC, kind, customer.id.as_str(), customer.sequence, &data(customer))
}

/// The payload about a customer. That of an anonymised one also replaces earlier payloads.
pub(crate) fn data(customer: &Customer) -> Value {
    json!(CustomerView::from(customer))
}

pub(crate) fn prospect_created(prospect: &Prospect) -> NewEvent {
    prospect_event(PROSPECT_CREATED, prospect)
}

/// Something happened to a prospect: one of the kinds above.
pub(crate) fn prospect_event(kind: &'static str, prospect: &Prospect) -> NewEvent {
    NewEvent::new(PROSPECTS, kind, prospect.id.as_str(), prospect.sequence, &prospect_data(prospect))
}

/// The payload about a prospect. That of a deleted one also replaces earlier payloads.
pub(crate) fn prospect_data(prospect: &Prospect) -> Value {
    json!(ProspectView::from(prospect))
}

pub(crate) fn activity_created(activity: &Activity) -> NewEvent {
    let subject = activity_subject(activity.id.as_str());
    NewEvent::new(TOPIC, "souk.activity.created", subject, activity.sequence, &activity_data(activity))
}

/// The payload about an activity. That of one that lost its title also replaces earlier payloads.
pub(crate) fn activity_data(activity: &Activity) -> Value {
    json!(ActivityView::from(activity))
}

/// The subject of an activity's events. Customers have the same topic, and no id has a slash.
pub(crate) fn activity_subject(id: &str) -> String {
    format!("activity/{id}")
}
