//! Collections, their validators and unique indexes. Created at every start, possibly by several replicas at once: each step
//! is idempotent.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{IndexOptions, ValidationLevel};
use mongodb::{Database, IndexModel};

use crate::error::{MongoError, within};

pub(super) const CUSTOMERS: &str = "customers";
pub(super) const USERS: &str = "users";
pub(super) const PROSPECTS: &str = "prospects";
pub(super) const ACTIVITIES: &str = "activities";
pub(super) const TOKENS: &str = "tokens";
pub(super) const KEYS: &str = "signing_keys";
pub(super) const LEASES: &str = "leases";
/// The time before which data may have been pruned.
pub(super) const PRUNED: &str = "pruned";

// Unique indexes have the names that the constraints have in SQL, so that one table turns both into errors.
pub(super) const NUMBER_KEY: &str = "customers_number_key";
pub(super) const CUSTOMER_REPLIES_KEY: &str = "customers_replies_key";
pub(super) const USER_REPLIES_KEY: &str = "users_replies_key";

/// The server's code for a collection that is there already.
const EXISTS: i32 = 48;
/// How long the id of a refused registration stays refused: longer than any step of a registration takes.
const REFUSED_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long an expired lease is kept.
const LEASES_KEPT: Duration = Duration::from_secs(3600);

/// Creates missing collections and indexes.
pub(super) async fn apply(database: &Database) -> Result<(), MongoError> {
    collection(database, CUSTOMERS, customers()).await?;
    collection(database, USERS, users()).await?;
    collection(database, PROSPECTS, prospects()).await?;
    collection(database, ACTIVITIES, activities()).await?;
    collection(database, TOKENS, tokens()).await?;
    collection(database, KEYS, required(&[("pkcs8", "string"), ("created_at", "long")])).await?;
    collection(database, LEASES, required(&[("owner", "string"), ("until", "long"), ("expires", "date")])).await?;
    collection(database, PRUNED, required(&[("before", "long")])).await?;
    indexes(
        database,
        CUSTOMERS,
        vec![
            unique(NUMBER_KEY, doc! { "number": 1 }, sparse()),
            unique("customers_email_lower_key", doc! { "email_lower": 1 }, sparse()),
            unique(CUSTOMER_REPLIES_KEY, doc! { "replies.id": 1 }, where_replies()),
            plain("customers_replies_created_at", doc! { "replies.created_at": 1 }, sparse()),
            plain("customers_waiting", doc! { "waiting_since": 1 }, sparse()),
            plain("customers_published_at", doc! { "outbox.published_at": 1 }, sparse()),
            plain("customers_leaving", doc! { "leaving": 1 }, sparse()),
            expiring("customers_refused_at", doc! { "refused_at": 1 }, REFUSED_KEPT),
        ],
    )
    .await?;
    indexes(
        database,
        USERS,
        vec![
            unique("users_username_lower_key", doc! { "username_lower": 1 }, IndexOptions::default()),
            unique("users_email_lower_key", doc! { "email_lower": 1 }, IndexOptions::default()),
            unique("users_customer_id_key", doc! { "customer_id": 1 }, sparse()),
            unique(USER_REPLIES_KEY, doc! { "replies.id": 1 }, where_replies()),
            plain("users_replies_created_at", doc! { "replies.created_at": 1 }, sparse()),
            plain("users_roles", doc! { "roles": 1 }, IndexOptions::default()),
            plain("users_pending", doc! { "pending": 1 }, sparse()),
            plain("users_tokens_ending", doc! { "tokens_ending": 1 }, sparse()),
        ],
    )
    .await?;
    let by = |name: &str, field: &str| {
        let mut keys = Document::new();
        keys.insert(field, 1);
        keys.insert("number", 1);
        plain(name, keys, IndexOptions::default())
    };
    let mut of_prospects = records("prospects");
    of_prospects.extend(["stage", "field", "owner"].map(|field| by(&format!("prospects_{field}"), field)));
    indexes(database, PROSPECTS, of_prospects).await?;
    let mut of_activities = records("activities");
    of_activities.extend(["date", "prospect_id"].map(|field| by(&format!("activities_{field}"), field)));
    indexes(database, ACTIVITIES, of_activities).await?;
    indexes(database, LEASES, vec![expiring("leases_expires", doc! { "expires": 1 }, LEASES_KEPT)]).await?;
    indexes(
        database,
        TOKENS,
        vec![
            plain("tokens_user_id", doc! { "user_id": 1 }, IndexOptions::default()),
            plain("tokens_revoked", doc! { "revoked": 1, "expires_at": 1 }, IndexOptions::default()),
            plain("tokens_expires_at", doc! { "expires_at": 1 }, IndexOptions::default()),
            // Expired tokens are not needed.
            expiring("tokens_expires", doc! { "expires": 1 }, Duration::from_secs(60)),
        ],
    )
    .await
}

async fn collection(database: &Database, name: &str, schema: Document) -> Result<(), MongoError> {
    let validator = doc! { "$jsonSchema": schema };
    let create = database.create_collection(name).validator(validator.clone());
    match within(create.validation_level(ValidationLevel::Strict)).await {
        Ok(()) => return Ok(()),
        Err(failure) if is_there(&failure) => {}
        Err(failure) => return Err(failure),
    }
    within(database.run_command(doc! { "collMod": name, "validator": validator, "validationLevel": "strict" })).await?;
    Ok(())
}

fn is_there(failure: &MongoError) -> bool {
    matches!(failure, MongoError::Defect(error)
        if matches!(error.kind.as_ref(), ErrorKind::Command(failed) if failed.code == EXISTS))
}

/// Building an index on a large collection takes long, so there is no tight time-out.
async fn indexes(database: &Database, collection: &str, models: Vec<IndexModel>) -> Result<(), MongoError> {
    database.collection::<Document>(collection).create_indexes(models).await?;
    Ok(())
}

fn plain(name: &str, keys: Document, mut options: IndexOptions) -> IndexModel {
    options.name = Some(name.into());
    IndexModel::builder().keys(keys).options(options).build()
}

fn unique(name: &str, keys: Document, mut options: IndexOptions) -> IndexModel {
    options.unique = Some(true);
    plain(name, keys, options)
}

fn expiring(name: &str, keys: Document, after: Duration) -> IndexModel {
    plain(name, keys, IndexOptions::builder().expire_after(after).build())
}

fn sparse() -> IndexOptions {
    IndexOptions::builder().sparse(true).build()
}

/// A sparse index is not enough for an array: an empty one would count as a value, which must be unique.
fn where_replies() -> IndexOptions {
    IndexOptions::builder().partial_filter_expression(doc! { "replies.id": { "$exists": true } }).build()
}

fn required(fields: &[(&str, &str)]) -> Document {
    let mut properties = Document::new();
    for (name, kind) in fields {
        properties.insert(*name, doc! { "bsonType": *kind });
    }
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    doc! { "bsonType": "object", "required": names, "properties": properties }
}

fn customers() -> Document {
    let mut kept = required(&[
        ("number", "long"),
        ("name", "string"),
        ("search", "string"),
        ("created_at", "long"),
        ("updated_at", "long"),
        ("version", "long"),
        ("sequence", "long"),
        ("shard", "long"),
    ]);
    if let Ok(properties) = kept.get_document_mut("properties") {
        for counted in ["number", "version", "sequence"] {
            properties.insert(counted, doc! { "bsonType": "long", "minimum": 1 });
        }
        for text in ["first_name", "last_name", "email", "email_lower", "phone", "created_from"] {
            properties.insert(text, doc! { "bsonType": "string" });
        }
        properties.insert("address", doc! { "bsonType": "object", "required": ["line1"] });
        properties.insert("outbox", doc! { "bsonType": "array", "items": entry() });
        properties.insert("replies", replies());
    }
    // A document may be a customer, or the refusal of one.
    doc! { "anyOf": [kept, required(&[("refused_at", "date")])] }
}

/// The indexes that prospects and activities share.
fn records(name: &str) -> Vec<IndexModel> {
    let named = |what: &str| format!("{name}_{what}");
    vec![
        unique(&named("number_key"), doc! { "number": 1 }, IndexOptions::default()),
        unique(&named("replies_key"), doc! { "replies.id": 1 }, where_replies()),
        plain(&named("replies_created_at"), doc! { "replies.created_at": 1 }, sparse()),
        plain(&named("waiting"), doc! { "waiting_since": 1 }, sparse()),
        plain(&named("published_at"), doc! { "outbox.published_at": 1 }, sparse()),
    ]
}

fn prospects() -> Document {
    let moved = required(&[("at", "long"), ("actor", "string"), ("stage", "string")]);
    let fields = [("first_name", "string"), ("last_name", "string"), ("field", "string"), ("search", "string")];
    let mut schema = record(&fields);
    if let Ok(properties) = schema.get_document_mut("properties") {
        properties.insert("stage", doc! { "enum": ["new", "contacted", "qualified", "won", "lost"] });
        properties.insert("history", doc! { "bsonType": "array", "minItems": 1, "items": moved });
        for text in ["company", "email", "phone", "owner", "activity_id", "customer_id"] {
            properties.insert(text, doc! { "bsonType": "string" });
        }
    }
    schema
}

fn activities() -> Document {
    let mut schema = record(&[("name", "string"), ("date", "string"), ("by_event", "bool")]);
    if let Ok(properties) = schema.get_document_mut("properties") {
        properties.insert("date", doc! { "bsonType": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" });
        properties.insert("prospect_id", doc! { "bsonType": "string" });
    }
    schema
}

/// The schema that prospects and activities share.
fn record(own: &[(&str, &str)]) -> Document {
    let common = [("number", "long"), ("created_at", "long"), ("updated_at", "long"), ("version", "long")];
    let mut schema = required(&[own, &common, &[("sequence", "long"), ("shard", "long")]].concat());
    if let Ok(properties) = schema.get_document_mut("properties") {
        for counted in ["number", "version", "sequence"] {
            properties.insert(counted, doc! { "bsonType": "long", "minimum": 1 });
        }
        properties.insert("deleted_at", doc! { "bsonType": "long" });
        properties.insert("outbox", doc! { "bsonType": "array", "items": entry() });
        properties.insert("replies", replies());
    }
    schema
}

fn entry() -> Document {
    required(&[("sequence", "long"), ("topic", "string"), ("payload", "string"), ("created_at", "long")])
}

fn users() -> Document {
    let mut schema = required(&[
        ("username", "string"),
        ("username_lower", "string"),
        ("email", "string"),
        ("email_lower", "string"),
        ("name", "string"),
        ("password_hash", "string"),
        ("roles", "array"),
        ("stores", "array"),
        ("created_at", "long"),
        ("version", "long"),
    ]);
    if let Ok(properties) = schema.get_document_mut("properties") {
        let role = doc! { "enum": ["admin", "manager", "clerk", "customer"] };
        properties.insert("roles", doc! { "bsonType": "array", "minItems": 1, "items": role });
        properties.insert("stores", doc! { "bsonType": "array", "items": { "bsonType": "string" } });
        properties.insert("customer_id", doc! { "bsonType": "string" });
        properties.insert("pending", doc! { "enum": ["customer", "link"] });
        properties.insert("replies", replies());
    }
    schema
}

fn tokens() -> Document {
    required(&[("user_id", "string"), ("expires_at", "long"), ("expires", "date"), ("revoked", "bool")])
}

fn replies() -> Document {
    let reply = required(&[
        ("id", "string"),
        ("payload_hash", "string"),
        ("status", "int"),
        ("body", "string"),
        ("location", "string"),
        ("etag", "string"),
        ("created_at", "long"),
    ]);
    doc! { "bsonType": "array", "items": reply }
}
