//! Prospects and activities in MongoDB: their documents, and the filters of their lists.

use commerce::{CustomerId, Timestamp};
use mongodb::Collection;
use mongodb::bson::{Document, deserialize_from_document, doc};
use serde::{Deserialize, Serialize};

use super::MongoStore;
use super::docs::document;
use super::numbers::Numbers;
use super::records::{Docs, unreadable};
use crate::domain::{Activity, ActivityId, Day, Lead, Moved, Planned, Prospect, ProspectId, Stage};
use crate::error::MongoError;
use crate::store::{Activities, Prospects};

/// The condition for a number; none if it is not set.
fn of_number(number: Option<i64>) -> Document {
    number.map_or_else(Document::new, |number| doc! { "number": number })
}

/// A transition of the stage; times are numbers.
#[derive(Serialize, Deserialize)]
struct MovedDoc {
    at: i64,
    actor: String,
    stage: Stage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A prospect's own fields.
#[derive(Serialize, Deserialize)]
struct ProspectDoc {
    #[serde(rename = "_id")]
    id: String,
    number: i64,
    first_name: String,
    last_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activity_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    stage: Stage,
    history: Vec<MovedDoc>,
    /// The searched texts in lower case.
    search: String,
    created_at: i64,
    updated_at: i64,
    version: i64,
    sequence: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<i64>,
}

impl Docs for Prospect {
    const NUMBER_KEY: &'static str = "prospects_number_key";
    const REPLIES_KEY: &'static str = "prospects_replies_key";
    const OPTIONAL: &'static [&'static str] =
        &["company", "email", "phone", "owner", "activity_id", "customer_id", "deleted_at"];

    fn collection(store: &MongoStore) -> &Collection<Document> {
        &store.prospects
    }

    fn numbers(store: &MongoStore) -> &Numbers {
        &store.prospect_numbers
    }

    fn filter(filter: Prospects) -> Document {
        let mut wanted = of_number(filter.number);
        for (field, value) in [("stage", filter.stage), ("field", filter.field), ("owner", filter.owner)] {
            if let Some(value) = value {
                wanted.insert(field, value);
            }
        }
        if let Some(search) = filter.search {
            // Not a pattern, so that every character stands for itself.
            let at = doc! { "$indexOfCP": ["$search", { "$literal": search.to_lowercase() }] };
            wanted.insert("$expr", doc! { "$gte": [at, 0] });
        }
        wanted
    }

    fn document(&self) -> Result<Document, MongoError> {
        let lead = self.lead.clone();
        let moved = |moved: &Moved| MovedDoc {
            at: moved.at.micros(),
            actor: moved.actor.clone(),
            stage: moved.stage,
            reason: moved.reason.clone(),
        };
        document(&ProspectDoc {
            id: self.id.as_str().to_owned(),
            number: self.number,
            search: if self.deleted_at.is_some() { String::new() } else { lead.search_text() },
            first_name: lead.first_name.unwrap_or_default(),
            last_name: lead.last_name.unwrap_or_default(),
            company: lead.company,
            email: lead.email,
            phone: lead.phone,
            field: lead.field.unwrap_or_default(),
            owner: lead.owner,
            activity_id: lead.activity_id,
            customer_id: self.customer_id.clone().map(String::from),
            stage: self.stage,
            history: self.history.iter().map(moved).collect(),
            created_at: self.created_at.micros(),
            updated_at: self.updated_at.micros(),
            version: self.version,
            sequence: self.sequence,
            deleted_at: self.deleted_at.map(Timestamp::micros),
        })
    }

    fn read(found: Document) -> Result<Self, MongoError> {
        let found: ProspectDoc = deserialize_from_document(found).map_err(unreadable)?;
        let moved = |moved: MovedDoc| Moved {
            at: Timestamp::from_micros(moved.at),
            actor: moved.actor,
            stage: moved.stage,
            reason: moved.reason,
        };
        Ok(Self {
            id: ProspectId::trusted(found.id),
            number: found.number,
            lead: Lead {
                first_name: Some(found.first_name),
                last_name: Some(found.last_name),
                company: found.company,
                email: found.email,
                phone: found.phone,
                field: Some(found.field),
                owner: found.owner,
                activity_id: found.activity_id,
            },
            stage: found.stage,
            history: found.history.into_iter().map(moved).collect(),
            customer_id: found.customer_id.map(CustomerId::trusted),
            created_at: Timestamp::from_micros(found.created_at),
            updated_at: Timestamp::from_micros(found.updated_at),
            version: found.version,
            sequence: found.sequence,
            deleted_at: found.deleted_at.map(Timestamp::from_micros),
        })
    }
}

/// An activity's own fields.
#[derive(Serialize, Deserialize)]
struct ActivityDoc {
    #[serde(rename = "_id")]
    id: String,
    number: i64,
    name: String,
    date: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prospect_id: Option<String>,
    by_event: bool,
    created_at: i64,
    updated_at: i64,
    version: i64,
    sequence: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<i64>,
}

impl Docs for Activity {
    const NUMBER_KEY: &'static str = "activities_number_key";
    const REPLIES_KEY: &'static str = "activities_replies_key";
    const OPTIONAL: &'static [&'static str] = &["prospect_id", "deleted_at"];

    fn collection(store: &MongoStore) -> &Collection<Document> {
        &store.activities
    }

    fn numbers(store: &MongoStore) -> &Numbers {
        &store.activity_numbers
    }

    fn filter(filter: Activities) -> Document {
        let mut days = Document::new();
        for (how, day) in [("$eq", filter.date), ("$gte", filter.from), ("$lte", filter.to)] {
            if let Some(day) = day {
                days.insert(how, day);
            }
        }
        let mut wanted = of_number(filter.number);
        if !days.is_empty() {
            wanted.insert("date", days);
        }
        if let Some(prospect) = filter.prospect_id {
            wanted.insert("prospect_id", prospect);
        }
        wanted
    }

    fn document(&self) -> Result<Document, MongoError> {
        document(&ActivityDoc {
            id: self.id.as_str().to_owned(),
            number: self.number,
            name: self.plan.name.clone(),
            date: self.plan.date.to_string(),
            prospect_id: self.plan.prospect_id.clone().map(String::from),
            by_event: self.by_event,
            created_at: self.created_at.micros(),
            updated_at: self.updated_at.micros(),
            version: self.version,
            sequence: self.sequence,
            deleted_at: self.deleted_at.map(Timestamp::micros),
        })
    }

    fn read(found: Document) -> Result<Self, MongoError> {
        let found: ActivityDoc = deserialize_from_document(found).map_err(unreadable)?;
        Ok(Self {
            id: ActivityId::trusted(found.id),
            number: found.number,
            plan: Planned {
                name: found.name,
                date: Day::trusted(found.date),
                prospect_id: found.prospect_id.map(ProspectId::trusted),
            },
            by_event: found.by_event,
            created_at: Timestamp::from_micros(found.created_at),
            updated_at: Timestamp::from_micros(found.updated_at),
            version: found.version,
            sequence: found.sequence,
            deleted_at: found.deleted_at.map(Timestamp::from_micros),
        })
    }
}
