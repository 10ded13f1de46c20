//! What this service tells: `customer.created`, `customer.updated`, `customer.anonymised`.

use bus::NewEvent;
use serde_json::{Value, json};

use crate::api::CustomerView;
use crate::domain::Customer;

pub(crate) const TOPIC: &str = "customers";

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

/// What is told of a customer. Of an anonymised one it also stands in for what was told before.
pub(crate) fn data(customer: &Customer) -> Value {
    json!(CustomerView::from(customer))
}
