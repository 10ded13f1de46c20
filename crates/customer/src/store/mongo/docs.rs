//! The documents of customers and users, and their conversion.

use auth::Role;
use bus::outbox::OutboxEvent;
use commerce::{CustomerId, Timestamp, UserId};
use mongodb::bson::{DateTime, Document, serialize_to_document};
use serde::{Deserialize, Serialize};

use crate::domain::{Address, Customer, Profile, User, search_text};
use crate::error::MongoError;
use idempotency::{KeyedRequest, StoredResponse};

/// A customer with its pending events and the responses stored for repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CustomerDoc {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) number: i64,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    /// In lower case: unique without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) email_lower: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Address>,
    /// The searched texts in lower case.
    pub(super) search: String,
    /// The fingerprint of the request if the client chose the id, which distinguishes a repeat from a clash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_from: Option<String>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) version: i64,
    pub(super) sequence: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) anonymised_at: Option<i64>,
    /// The shard of the relay that publishes its events.
    pub(super) shard: i64,
    /// Its events, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) outbox: Vec<Entry>,
    /// Since when at least one event may be unpublished; absent if all are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) waiting_since: Option<i64>,
    /// Stored responses that created it or name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replies: Vec<Kept>,
}

/// An event, embedded in the document that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) sequence: i64,
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published_at: Option<i64>,
}

/// A stored response, embedded in the document that it is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Subject, route and key: unique among all documents of the collection.
    pub(super) id: String,
    pub(super) payload_hash: String,
    pub(super) status: i32,
    pub(super) body: String,
    pub(super) location: String,
    pub(super) etag: String,
    pub(super) created_at: i64,
}

/// A user, with the steps that are still pending.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UserDoc {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) username: String,
    pub(super) username_lower: String,
    pub(super) email: String,
    pub(super) email_lower: String,
    pub(super) name: String,
    pub(super) password_hash: String,
    pub(super) roles: Vec<String>,
    pub(super) stores: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) customer_id: Option<String>,
    pub(super) created_at: i64,
    pub(super) version: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replies: Vec<Kept>,
    /// The step that must follow before the user is visible; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
}

/// The next step of a new user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pending {
    /// The user's customer must be inserted.
    Customer,
    /// The customer that the user names must exist.
    Link,
}

/// A refusal: the id of a customer that must not be inserted any more.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) refused_at: DateTime,
}

impl CustomerDoc {
    pub(super) fn new(customer: &Customer) -> Self {
        let profile = customer.profile.clone();
        Self {
            id: customer.id.as_str().to_owned(),
            number: customer.number,
            name: customer.name().to_owned(),
            search: if customer.anonymised_at.is_some() { String::new() } else { search_text(&profile) },
            first_name: profile.first_name,
            last_name: profile.last_name,
            email_lower: profile.email.as_ref().map(|email| email.to_lowercase()),
            email: profile.email,
            phone: profile.phone,
            address: profile.address,
            created_from: customer.created_from.clone(),
            created_at: customer.created_at.micros(),
            updated_at: customer.updated_at.micros(),
            version: customer.version,
            sequence: customer.sequence,
            anonymised_at: customer.anonymised_at.map(Timestamp::micros),
            shard: bus::outbox::shard(customer.id.as_str()),
            outbox: Vec::new(),
            waiting_since: None,
            replies: Vec::new(),
        }
    }

    pub(super) fn customer(self) -> Customer {
        Customer {
            id: CustomerId::trusted(self.id),
            number: self.number,
            profile: Profile {
                name: Some(self.name),
                first_name: self.first_name,
                last_name: self.last_name,
                email: self.email,
                phone: self.phone,
                address: self.address,
            },
            created_from: self.created_from,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
            version: self.version,
            sequence: self.sequence,
            anonymised_at: self.anonymised_at.map(Timestamp::from_micros),
        }
    }
}

/// The part of an update that brings a customer's own fields to this state: present fields are set, absent ones unset. Events and
/// stored responses are not touched.
pub(super) fn fields(customer: &Customer) -> Result<(Document, Document), MongoError> {
    const CHANGING: [&str; 13] = [
        "name",
        "first_name",
        "last_name",
        "email",
        "email_lower",
        "phone",
        "address",
        "search",
        "created_from",
        "updated_at",
        "version",
        "sequence",
        "anonymised_at",
    ];
    let mut whole = document(&CustomerDoc::new(customer))?;
    let (mut set, mut unset) = (Document::new(), Document::new());
    for field in CHANGING {
        match whole.remove(field) {
            Some(value) => set.insert(field, value),
            None => unset.insert(field, ""),
        };
    }
    Ok((set, unset))
}

impl UserDoc {
    pub(super) fn new(user: &User) -> Self {
        Self {
            id: user.id.as_str().to_owned(),
            username: user.username.clone(),
            username_lower: user.username.to_lowercase(),
            email: user.email.clone(),
            email_lower: user.email.to_lowercase(),
            name: user.name.clone(),
            password_hash: user.password_hash.clone(),
            roles: role_names(&user.roles),
            stores: user.stores.clone(),
            customer_id: user.customer_id.as_ref().map(|id| id.as_str().to_owned()),
            created_at: user.created_at.micros(),
            version: user.version,
            replies: Vec::new(),
            pending: None,
        }
    }

    pub(super) fn user(self) -> User {
        User {
            id: UserId::trusted(self.id),
            username: self.username,
            email: self.email,
            name: self.name,
            password_hash: self.password_hash,
            roles: self.roles.iter().filter_map(|role| Role::parse(role)).collect(),
            stores: self.stores,
            customer_id: self.customer_id.map(CustomerId::trusted),
            created_at: Timestamp::from_micros(self.created_at),
            version: self.version,
        }
    }
}

impl Kept {
    pub(super) fn new(key: &KeyedRequest, reply: &StoredResponse, now: Timestamp) -> Self {
        Self {
            id: reply_id(key),
            payload_hash: key.fingerprint.to_base64(),
            status: i32::from(reply.status),
            body: reply.body.clone(),
            location: reply.location.clone(),
            etag: reply.etag.clone(),
            created_at: now.micros(),
        }
    }
}

/// Neither subject nor route contains a line break, so the joined text is unique.
pub(super) fn reply_id(KeyedRequest { key, .. }: &KeyedRequest) -> String {
    format!("{}\n{}\n{}", key.subject, key.route, key.key)
}

impl Entry {
    pub(super) fn into_event(self, subject: &str) -> OutboxEvent {
        OutboxEvent {
            topic: self.topic,
            subject: subject.to_owned(),
            sequence: self.sequence,
            created_at: Timestamp::from_micros(self.created_at),
            published: self.published_at.is_some(),
            payload: self.payload,
        }
    }
}

pub(super) fn role_names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| role.as_str().to_owned()).collect()
}

pub(super) fn document(value: &impl Serialize) -> Result<Document, MongoError> {
    serialize_to_document(value).map_err(|error| MongoError::Defect(error.into()))
}
