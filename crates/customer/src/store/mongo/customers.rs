//! Customers in MongoDB. Each write is one operation on one document, which holds the event too.

use std::time::Duration;

use commerce::page::PageRequest;
use commerce::{CustomerId, Timestamp};
use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::Deserialize;
use serde_json::Value;

use super::docs::{CustomerDoc, Entry, Kept, Refused, document, fields};
use super::{MongoStore, TRIES, idempotency_keys, keys, numbers, schema, users};
use crate::domain::{Change, Customer, NewCustomer, Profile};
use crate::error::Error;
use crate::error::{MongoError, in_time, within};
use crate::events;
use crate::store::{Filter, Render};
use idempotency::{KeyedRequest, StoredResponse};

const FACTS_PAGE: i64 = 1_000;
/// Attempts to get a number: each failure means that another replica created a customer meanwhile.
const NUMBER_TRIES: u32 = 100;
const ID: &str = "_id_";

/// The document under a customer's id.
pub(super) enum Place {
    Free,
    Taken,
    /// A refusal: no customer must be inserted.
    Refused,
}

pub(crate) async fn create(
    store: &MongoStore,
    new: NewCustomer,
    key: Option<KeyedRequest>,
    render: Render<Customer>,
) -> Result<StoredResponse, Error> {
    let mut refused: Option<MongoError> = None;
    for _ in 0..TRIES {
        if let Some(key) = &key
            && let Some(reply) = idempotency_keys::find(&store.customers, key).await?
        {
            return Ok(reply);
        }
        if let Some(id) = &new.id
            && let Some(known) = find(store, id).await?
        {
            if known.created_from.as_ref() != Some(&new.created_from) {
                return Err(Error::IdTaken);
            }
            let reply = render(&known, false);
            if keep(store, &known, key.as_ref(), &reply).await? {
                return Ok(reply);
            }
            continue;
        }
        // Neither a repeat of this request nor the same id, so the error of the index holds.
        match refused.take() {
            Some(failure) if !matches!(failure.duplicate(), Some(ID | schema::CUSTOMER_REPLIES_KEY)) => {
                return Err(failure.into());
            }
            _ => {}
        }
        if let Some(email) = &new.profile.email
            && users::without_customer(store, &email.to_lowercase()).await?
        {
            // A user without a customer has this address; two people must not share one. A user who gets it between this read
            // and the insert below counts as later, which is allowed.
            return Err(Error::EmailTaken);
        }
        let id = new.id.clone().unwrap_or_else(CustomerId::new);
        let customer = draft(id, new.profile.clone(), Some(new.created_from.clone()));
        let answer = |customer: &Customer| render(customer, true);
        match add(store, customer, key.as_ref().map(|key| (key, &answer as &Answer<'_>))).await {
            Ok(customer) => return Ok(answer(&customer)),
            Err(failure) if failure.duplicate().is_some() => refused = Some(failure),
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(Error::from(MongoError::Away(None)))
}

/// A new customer; the insert gives it a number.
pub(super) fn draft(id: CustomerId, profile: Profile, created_from: Option<String>) -> Customer {
    let now = Timestamp::now();
    Customer {
        id,
        number: 0,
        profile,
        created_from,
        created_at: now,
        updated_at: now,
        version: 1,
        sequence: 1,
        anonymised_at: None,
    }
}

/// Renders the response that is stored with its effect.
pub(super) type Answer<'a> = dyn Fn(&Customer) -> StoredResponse + Send + Sync + 'a;

/// Inserts a customer with its first event and the stored response. A unique index may refuse.
pub(super) async fn add(
    store: &MongoStore,
    mut customer: Customer,
    answer: Option<(&KeyedRequest, &Answer<'_>)>,
) -> Result<Customer, MongoError> {
    let _turn = store.numbers.turn().await?;
    for _ in 0..NUMBER_TRIES {
        customer.number = numbers::next(&store.customers).await?;
        let entry = entry(events::created(&customer), customer.created_at);
        let mut whole = CustomerDoc::new(&customer);
        whole.waiting_since = Some(entry.created_at);
        whole.outbox = vec![entry];
        whole.replies =
            answer.iter().map(|(key, answer)| Kept::new(key, &answer(&customer), Timestamp::now())).collect();
        match within(store.customers.insert_one(document(&whole)?)).await {
            Ok(_) => return Ok(customer),
            Err(failure) if failure.duplicate() == Some(schema::NUMBER_KEY) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(MongoError::Away(None))
}

/// An event as it is stored.
pub(super) fn entry(event: bus::NewEvent, now: Timestamp) -> Entry {
    Entry {
        sequence: event.sequence,
        topic: event.topic.to_owned(),
        payload: event.envelope(crate::NAME, now),
        created_at: now.micros(),
        published_at: None,
    }
}

/// Stores the response to a repeat by id, unless the customer has changed meanwhile or the key is taken.
async fn keep(
    store: &MongoStore,
    customer: &Customer,
    key: Option<&KeyedRequest>,
    reply: &StoredResponse,
) -> Result<bool, Error> {
    let Some(key) = key else { return Ok(true) };
    let filter = doc! { "_id": customer.id.as_str(), "created_from": customer.created_from.clone() };
    let kept = document(&Kept::new(key, reply, Timestamp::now()))?;
    match within(store.customers.update_one(filter, doc! { "$push": { "replies": kept } })).await {
        Ok(done) => Ok(done.matched_count == 1),
        Err(failure) if failure.duplicate().is_some() => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

pub(crate) async fn find(store: &MongoStore, id: &CustomerId) -> Result<Option<Customer>, MongoError> {
    let customers = store.customers.clone_with_type::<CustomerDoc>();
    let found = within(customers.find_one(there(id.as_str())).projection(without_others())).await?;
    Ok(found.map(CustomerDoc::customer))
}

/// The customer with that id; `None` for a refusal.
fn there(id: &str) -> Document {
    doc! { "_id": id, "number": { "$gte": 1_i64 } }
}

/// Events and stored responses are left out of reads.
fn without_others() -> Document {
    doc! { "outbox": 0, "replies": 0 }
}

/// The document with that id.
pub(super) async fn place(store: &MongoStore, id: &str) -> Result<Place, MongoError> {
    let found = within(store.customers.find_one(doc! { "_id": id }).projection(doc! { "refused_at": 1 })).await?;
    Ok(match found {
        None => Place::Free,
        Some(found) if found.contains_key("refused_at") => Place::Refused,
        Some(_) => Place::Taken,
    })
}

/// Stores a refusal under a customer's id; false if the customer or a refusal exists already.
pub(super) async fn refuse(store: &MongoStore, id: &str) -> Result<bool, MongoError> {
    let tombstone = document(&Refused { id: id.to_owned(), refused_at: DateTime::now() })?;
    match within(store.customers.insert_one(tombstone)).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.duplicate().is_some() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Whether a customer has that address, given in lower case.
pub(super) async fn has_email(store: &MongoStore, email: &str) -> Result<bool, MongoError> {
    let found = within(store.customers.find_one(doc! { "email_lower": email }).projection(doc! { "_id": 1 })).await?;
    Ok(found.is_some())
}

pub(crate) async fn list(
    store: &MongoStore,
    filter: Filter,
    window: PageRequest<i64>,
) -> Result<(Vec<Customer>, Option<u64>), Error> {
    // Numbers below 1 are not given yet.
    let mut wanted = match filter.number {
        Some(number) => doc! { "number": { "$eq": number, "$gte": 1_i64 } },
        None => doc! { "number": { "$gte": 1_i64 } },
    };
    if filter.ids.is_empty() {
        // An anonymised customer is found by its id only, from its orders.
        wanted.insert("anonymised_at", Bson::Null);
    } else {
        wanted.insert("_id", doc! { "$in": filter.ids });
    }
    if let Some(email) = filter.email {
        wanted.insert("email_lower", email.to_lowercase());
    }
    if let Some(search) = filter.search {
        // Not a pattern, so that every character stands for itself.
        let at = doc! { "$indexOfCP": ["$search", { "$literal": search.to_lowercase() }] };
        wanted.insert("$expr", doc! { "$gte": [at, 0] });
    }
    let total =
        if window.include_total { Some(within(store.customers.count_documents(wanted.clone())).await?) } else { None };
    let (past, order) = if filter.newest_first { ("$lt", -1) } else { ("$gt", 1) };
    if let Some(after) = window.after {
        let numbers = doc! { "number": { past: after.max(0), "$gte": 1_i64 } };
        wanted = doc! { "$and": [wanted, numbers] };
    }
    let customers = store.customers.clone_with_type::<CustomerDoc>();
    let rows: Vec<CustomerDoc> = in_time(async {
        let find = customers.find(wanted).projection(without_others()).sort(doc! { "number": order });
        Ok(find.skip(u64::from(window.offset)).limit(window.fetch()).await?.try_collect().await?)
    })
    .await?;
    Ok((rows.into_iter().map(CustomerDoc::customer).collect(), total))
}

pub(crate) async fn change(
    store: &MongoStore,
    id: &CustomerId,
    seen: Option<i64>,
    change: Change,
) -> Result<Customer, Error> {
    for attempt in 0..TRIES {
        let before = find(store, id).await?.ok_or(Error::NotFound("customer"))?;
        if before.anonymised_at.is_some() {
            return Err(Error::Anonymised);
        }
        check_seen(&before, seen)?;
        let profile = change.clone().apply(&before.profile)?;
        if profile == before.profile {
            return Ok(before);
        }
        let after = before.changed(profile, Timestamp::now());
        let (set, unset) = fields(&after)?;
        let event = document(&entry(events::updated(&after), after.updated_at))?;
        let update = doc! {
            "$set": set, "$unset": unset, "$push": { "outbox": event },
            "$min": { "waiting_since": after.updated_at.micros() },
        };
        let filter = doc! { "_id": id.as_str(), "version": before.version };
        if within(store.customers.update_one(filter, update)).await?.matched_count == 1 {
            return Ok(after);
        }
        pause(attempt).await;
    }
    Err(Error::from(MongoError::Away(None)))
}

/// A pause with jitter after a conflict.
pub(super) async fn pause(attempt: u32) {
    let spread = 1_000 * i64::from(attempt.min(20) + 1);
    let micros = Timestamp::now().micros().rem_euclid(spread);
    tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0))).await;
}

fn check_seen(customer: &Customer, seen: Option<i64>) -> Result<(), Error> {
    match seen {
        Some(seen) if seen != customer.version => Err(Error::Stale { version: customer.version }),
        _ => Ok(()),
    }
}

/// Anonymises a customer and adds the event in one operation on its document, which also removes stored responses and the personal
/// data of earlier events. The user and its tokens are other documents: the mark `leaving` records that they must still be removed,
/// so that another call or replica finishes after a crash.
pub(crate) async fn anonymise(store: &MongoStore, id: &CustomerId, seen: Option<i64>) -> Result<Vec<String>, Error> {
    for attempt in 0..TRIES {
        let customers = store.customers.clone_with_type::<CustomerDoc>();
        let whole = within(customers.find_one(there(id.as_str()))).await?.ok_or(Error::NotFound("customer"))?;
        if whole.anonymised_at.is_some() {
            return Ok(finish_leaving(store, id.as_str()).await?);
        }
        if mark_leaving(store, whole, seen).await? {
            return Ok(finish_leaving(store, id.as_str()).await?);
        }
        pause(attempt).await;
    }
    Err(Error::from(MongoError::Away(None)))
}

/// The first step; false if the document has changed meanwhile.
pub(super) async fn mark_leaving(store: &MongoStore, whole: CustomerDoc, seen: Option<i64>) -> Result<bool, Error> {
    let mut outbox = whole.outbox.clone();
    let before = whole.customer();
    check_seen(&before, seen)?;
    let now = Timestamp::now();
    let after = before.anonymised(now);
    let data = events::data(&after);
    for entry in &mut outbox {
        if let Ok(mut envelope) = serde_json::from_str::<Value>(&entry.payload) {
            envelope["data"] = data.clone();
            entry.payload = envelope.to_string();
        }
    }
    outbox.push(entry(events::anonymised(&after), now));
    let (mut set, mut unset) = fields(&after)?;
    // This may overwrite the mark of a relay that has just published one of them, which is then published twice, in order.
    set.insert("outbox", outbox.iter().map(document).collect::<Result<Vec<_>, _>>()?);
    set.insert("leaving", true);
    unset.insert("replies", "");
    unset.insert("user_id", "");
    let update = doc! { "$set": set, "$unset": unset, "$min": { "waiting_since": now.micros() } };
    let filter = doc! { "_id": after.id.as_str(), "version": before.version };
    Ok(within(store.customers.update_one(filter, update)).await?.matched_count == 1)
}

#[derive(Default, Deserialize)]
struct Leaving {
    #[serde(default)]
    leaving_users: Vec<String>,
}

/// The steps after the first, each idempotent. Returns the revoked tokens.
pub(super) async fn finish_leaving(store: &MongoStore, id: &str) -> Result<Vec<String>, MongoError> {
    let it = doc! { "_id": id };
    // Read before the user is removed, which is the last document that links the tokens to the customer.
    while let Some(user) = users::of_customer(store, id).await? {
        within(store.customers.update_one(it.clone(), doc! { "$addToSet": { "leaving_users": &user } })).await?;
        within(store.users.delete_one(doc! { "_id": &user, "customer_id": id })).await?;
    }
    let leaving = store.customers.clone_with_type::<Leaving>();
    let noted = within(leaving.find_one(it.clone()).projection(doc! { "leaving_users": 1 })).await?;
    let mut ended = Vec::new();
    for user in noted.unwrap_or_default().leaving_users {
        ended.extend(keys::end_tokens(store, &user).await?);
    }
    within(store.customers.update_one(it, doc! { "$unset": { "leaving": "", "leaving_users": "" } })).await?;
    Ok(ended)
}

pub(crate) async fn all(store: &MongoStore, after: &str) -> Result<Vec<Customer>, Error> {
    let customers = store.customers.clone_with_type::<CustomerDoc>();
    let wanted = doc! { "_id": { "$gt": after }, "number": { "$gte": 1_i64 } };
    let rows: Vec<CustomerDoc> = in_time(async {
        let find = customers.find(wanted).projection(without_others());
        Ok(find.sort(doc! { "_id": 1 }).limit(FACTS_PAGE).await?.try_collect().await?)
    })
    .await?;
    Ok(rows.into_iter().map(CustomerDoc::customer).collect())
}
