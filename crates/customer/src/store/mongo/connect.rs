//! The connection: which options the URL may have, and which guarantees the server gives.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{
    Acknowledgment, ClientOptions, ReadConcern, ReadConcernLevel, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Database};

use crate::error::{MongoError, within};

/// Time-out of the server selection.
const SELECTION: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(3);
/// Time-out of a write concern.
const MAJORITY: Duration = Duration::from_secs(5);
/// The database, if the URL names none.
const DATABASE: &str = "customer";
/// The wire version of MongoDB 6.0.
const OLDEST: i32 = 17;

/// The guarantee that the topology gives for an acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    /// It is in the journal of a stand-alone server.
    Single,
    /// A majority has it.
    ReplicaSet,
    /// A majority of its shard has it.
    Sharded,
}

/// The database that the URL names. Does not connect yet, but may query DNS.
pub(super) async fn database(url: &str) -> Result<Database, MongoError> {
    let mut options = ClientOptions::parse(url).await.map_err(|error| match error.kind.as_ref() {
        // The driver's message may quote a part of a password that was not percent-encoded.
        ErrorKind::InvalidArgument { .. } if url.contains('@') => MongoError::Url(
            "the MongoDB URL cannot be used; are the special signs of user and password percent-encoded?".into(),
        ),
        ErrorKind::InvalidArgument { message, .. } => {
            MongoError::Url(format!("the MongoDB URL cannot be used: {message}"))
        }
        _ => error.into(),
    })?;
    if let Some(wrong) = unsafe_wish(&options) {
        return Err(MongoError::Url(format!(
            "the MongoDB URL asks for {wrong}, with which an answered write can get lost or an old state be decided \
             by; leave it out"
        )));
    }
    // Journalled too: a stand-alone server counts as a majority before it has written to disk.
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(MAJORITY).build();
    options.write_concern = Some(durable);
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.server_selection_timeout = Some(SELECTION);
    options.connect_timeout = Some(CONNECT);
    options.app_name = Some("souk-customer".into());
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE.into());
    Ok(Client::with_options(options)?.database(&name))
}

/// The option of the URL that is not allowed.
fn unsafe_wish(options: &ClientOptions) -> Option<String> {
    match options.write_concern.as_ref().and_then(|concern| concern.w.as_ref()) {
        Some(Acknowledgment::Nodes(nodes)) => return Some(format!("w={nodes}")),
        Some(Acknowledgment::Custom(tag)) => return Some(format!("w={tag}")),
        _ => {}
    }
    if options.write_concern.as_ref().and_then(|concern| concern.journal) == Some(false) {
        return Some("journal=false".into());
    }
    match &options.selection_criteria {
        None | Some(SelectionCriteria::ReadPreference(ReadPreference::Primary)) => {}
        Some(other) => return Some(format!("another read preference than primary ({other})")),
    }
    match options.read_concern.as_ref().map(|concern| &concern.level) {
        None | Some(ReadConcernLevel::Majority | ReadConcernLevel::Linearizable) => {}
        Some(other) => return Some(format!("readConcernLevel={other:?}").to_lowercase()),
    }
    None
}

/// Asks the server for its version and role; refuses one that is too old or not writable.
pub(super) async fn topology(database: &Database) -> Result<Topology, MongoError> {
    let hello: Document = within(database.run_command(doc! { "hello": 1 })).await?;
    let version = hello.get_i32("maxWireVersion").unwrap_or_default();
    if version < OLDEST {
        return Err(MongoError::Server(format!(
            "the MongoDB server is too old (wire version {version}); version 6.0 or later is required"
        )));
    }
    if !hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Err(MongoError::Away(None));
    }
    Ok(match (hello.get_str("setName"), hello.get_str("msg")) {
        (Ok(_), _) => Topology::ReplicaSet,
        (_, Ok("isdbgrid")) => Topology::Sharded,
        _ => Topology::Single,
    })
}

/// Logs the guarantee once.
pub(super) fn announce(topology: Topology) {
    match topology {
        Topology::Single => tracing::info!(
            "MongoDB stands alone: an answered write is in its journal; there is no failover, and writes are not \
             tried again by the driver"
        ),
        Topology::ReplicaSet => tracing::info!(
            "MongoDB is a replica set: an answered write is held by a majority and survives a failover; reads are of \
             majority and primary"
        ),
        Topology::Sharded => tracing::warn!(
            "MongoDB is a sharded cluster: an answered write is held by a majority of its shard; leave this \
             service's collections unsharded, since its unique indexes must see all documents"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_asks_for_less_than_a_majority_is_refused() {
        for bad in [
            "w=0",
            "w=1",
            "w=2",
            "w=tagged",
            "journal=false&w=majority",
            "readPreference=secondary",
            "readPreference=nearest",
            "readConcernLevel=local",
        ] {
            let refused = database(&format!("mongodb://127.0.0.1:1/?{bad}")).await.unwrap_err();
            assert!(matches!(&refused, MongoError::Url(text) if text.contains("leave it out")), "{bad}: {refused:?}");
        }
        for good in ["", "w=majority", "readPreference=primary&readConcernLevel=majority"] {
            assert_eq!(database(&format!("mongodb://127.0.0.1:1/?{good}")).await.unwrap().name(), "customer");
        }
        assert_eq!(database("mongodb://127.0.0.1:1/crm").await.unwrap().name(), "crm");
        assert!(matches!(database("mongodb://").await, Err(MongoError::Url(_))));
        let quoted = database("mongodb://me:pass/word@host").await.unwrap_err();
        assert!(matches!(&quoted, MongoError::Url(text) if !text.contains("word@")), "{quoted:?}");
    }
}
