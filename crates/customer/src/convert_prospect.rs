//! A prospect becomes a customer.
//!
//! The customer and the reference in the prospect are written one after the other, since not every store has transactions. The
//! customer's id is derived from the prospect's, so a repeat after a crash, and a concurrent request, find the same customer.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use commerce::page::PageRequest;
use commerce::{CustomerId, Timestamp};

use crate::domain::{NewCustomer, Prospect, ProspectId};
use crate::error::Error;
use crate::events;
use crate::store::{Edit, Filter, Step, Store};
use idempotency::StoredResponse;

/// Tries before the conversion fails: each time another request had just taken the address.
const TRIES: u32 = 3;

/// Makes the customer, or finds the one who has the prospect's address, and says so in the prospect.
pub(crate) async fn convert(store: &Store, prospect: Prospect, actor: &str) -> Result<Prospect, Error> {
    let (actor, now) = (actor.to_owned(), Timestamp::now());
    // Checked before anything is created: a lost prospect cannot be converted.
    if prospect.converted(CustomerId::new(), &actor, now)?.is_none() {
        return Ok(prospect);
    }
    let customer = customer_of(store, &prospect).await?;
    let edit: Edit<Prospect> = Arc::new(move |before: &Prospect| {
        let after = before.converted(customer.clone(), &actor, now)?;
        let event = |after: &Prospect| events::prospect_event(events::PROSPECT_CONVERTED, after);
        Ok(after.map(|after| Step { event: Some(event(&after)), after, redaction: None }))
    });
    store.edit_record(prospect.id.as_str(), None, edit).await
}

async fn customer_of(store: &Store, prospect: &Prospect) -> Result<CustomerId, Error> {
    let made = made_of(&prospect.id);
    let mut taken = None;
    for _ in 0..TRIES {
        // First the customer of an interrupted conversion, whatever its address is by now.
        if store.customer(&made).await?.is_some_and(|customer| customer.anonymised_at.is_none()) {
            return Ok(made);
        }
        if let Some(email) = &prospect.lead.email {
            let filter = Filter { email: Some(email.clone()), ..Filter::default() };
            let window = PageRequest { limit: 1, after: None, offset: 0, page: None, include_total: false };
            if let Some(customer) = store.customers(filter, window).await?.0.into_iter().next() {
                return Ok(customer.id);
            }
        }
        let profile = prospect.lead.profile().checked().map_err(Error::Invalid)?;
        let created_from = format!("prospect/{}", prospect.id);
        let new = NewCustomer { id: Some(made.clone()), profile, created_from };
        match store.create_customer(new, None, id_alone).await {
            Ok(_) => return Ok(made),
            Err(Error::EmailTaken) => taken = Some(Error::EmailTaken),
            Err(error) => return Err(error),
        }
    }
    Err(taken.unwrap_or(Error::Defect("no customer was found or made")))
}

/// The id of the customer that is made of a prospect.
fn made_of(prospect: &ProspectId) -> CustomerId {
    let hash = digest(&SHA256, format!("customer of prospect {prospect}").as_bytes());
    CustomerId::trusted(format!("prospect-{}", BASE64_URL_SAFE_NO_PAD.encode(hash)))
}

/// A response that is not sent.
fn id_alone(customer: &crate::domain::Customer, _created: bool) -> StoredResponse {
    let id = customer.id.as_str().to_owned();
    StoredResponse { status: 200, body: String::new(), location: id, etag: String::new() }
}
