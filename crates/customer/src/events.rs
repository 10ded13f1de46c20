//! What this service tells: `customer.created`, `customer.updated`, `customer.anonymised`.

use bus::{NewEvent, outbox};
use db::Tx;
use serde_json::{Value, json};

use crate::api::CustomerView;
use crate::domain::Customer;
use crate::error::Error;

pub(crate) const TOPIC: &str = "customers";

pub(crate) async fn created(tx: &mut Tx, customer: &Customer) -> Result<(), Error> {
    tell(tx, "souk.customer.created", customer).await
}

pub(crate) async fn updated(tx: &mut Tx, customer: &Customer) -> Result<(), Error> {
    tell(tx, "souk.customer.updated", customer).await
}

pub(crate) async fn anonymised(tx: &mut Tx, customer: &Customer) -> Result<(), Error> {
    tell(tx, "souk.customer.anonymised", customer).await
}

/// Takes the person out of what was told before and of what is still to be told.
pub(crate) async fn forget(tx: &mut Tx, customer: &Customer) -> Result<(), Error> {
    Ok(outbox::redact(tx, TOPIC, customer.id.as_str(), &data(customer)).await?)
}

async fn tell(tx: &mut Tx, kind: &'static str, customer: &Customer) -> Result<(), Error> {
    let event = NewEvent::new(TOPIC, kind, customer.id.as_str(), customer.sequence, &data(customer));
    Ok(outbox::append(tx, crate::NAME, vec![event]).await?)
}

fn data(customer: &Customer) -> Value {
    json!(CustomerView::from(customer))
}
