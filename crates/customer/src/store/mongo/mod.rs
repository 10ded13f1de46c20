//! The store on MongoDB 6 or later, stand-alone or a replica set, without transactions.
//!
//! Every write is one operation on one document. A change of several documents is a sequence of such operations, each
//! idempotent; the first one records in its document what must follow, and the next call that meets the record, or [`resume`],
//! continues. Events and stored responses are embedded in the document that they belong to.

mod connect;
pub(super) mod customers;
mod docs;
mod idempotency_keys;
pub(super) mod keys;
mod numbers;
mod outbox;
pub(super) mod prune;
mod record_docs;
pub(super) mod records;
mod relay;
pub(super) mod resume;
mod roles;
mod schema;
#[cfg(test)]
mod tests;
pub(super) mod users;

use bus::outbox::OutboxDump;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection, Database};

use crate::error::{MongoError, within};
pub(crate) use records::Docs;

/// Attempts of an update under contention. Each failure means that another update succeeded.
const TRIES: u32 = 100;

/// The MongoDB store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MongoStore {
    database: Database,
    customers: Collection<Document>,
    users: Collection<Document>,
    tokens: Collection<Document>,
    keys: Collection<Document>,
    leases: Collection<Document>,
    pruned: Collection<Document>,
    prospects: Collection<Document>,
    activities: Collection<Document>,
    numbers: numbers::Numbers,
    prospect_numbers: numbers::Numbers,
    activity_numbers: numbers::Numbers,
}

impl MongoStore {
    /// Opens the store that the URL names. Refuses a URL with weaker guarantees than this service needs.
    pub(crate) async fn new(url: &str) -> Result<Self, MongoError> {
        let database = connect::database(url).await?;
        Ok(Self {
            customers: database.collection(schema::CUSTOMERS),
            users: database.collection(schema::USERS),
            tokens: database.collection(schema::TOKENS),
            keys: database.collection(schema::KEYS),
            leases: database.collection(schema::LEASES),
            pruned: database.collection(schema::PRUNED),
            prospects: database.collection(schema::PROSPECTS),
            activities: database.collection(schema::ACTIVITIES),
            numbers: numbers::Numbers::default(),
            prospect_numbers: numbers::Numbers::default(),
            activity_numbers: numbers::Numbers::default(),
            database,
        })
    }

    /// The collections whose documents embed events.
    fn with_events(&self) -> [&Collection<Document>; 3] {
        [&self.customers, &self.prospects, &self.activities]
    }

    /// The client that all collections share.
    pub(crate) fn client(&self) -> Client {
        self.database.client().clone()
    }

    /// Whether the server answers.
    pub(crate) async fn ping(&self) -> Result<(), MongoError> {
        within(self.database.run_command(doc! { "ping": 1 })).await?;
        Ok(())
    }

    /// The events that the documents embed.
    pub(crate) async fn outbox_dump(&self) -> Result<OutboxDump, MongoError> {
        relay::dump(self).await
    }

    /// Checks the server and creates missing collections and indexes.
    pub(crate) async fn prepare(&self) -> Result<(), MongoError> {
        let topology = connect::topology(&self.database).await?;
        schema::apply(&self.database).await?;
        connect::announce(topology);
        Ok(())
    }
}
