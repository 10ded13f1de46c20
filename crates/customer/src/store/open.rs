//! Opens the store that a URL names.

use std::sync::Arc;

use bus::SqlOutbox;
use bus::outbox::Outbox;
use chassis::{Context, backoff};
use db::{Db, Options};
use prometheus::Registry;

use super::Store;
use super::mongo::MongoStore;
use super::sql::{MIGRATIONS, SqlStore};

/// A store, as the service, the relay and the periodic jobs use it.
#[derive(Clone)]
pub(crate) struct Opened {
    /// For the service.
    pub(crate) store: Arc<Store>,
    /// For the relay and the leases.
    pub(crate) outbox: Arc<dyn Outbox>,
}

/// Opens the store and brings its schema up to date: `sqlite:PATH`, `postgres://…`, `mongodb://…`,
/// `mongodb+srv://…`. A service (`ctx`) waits for a server that is not reachable yet; without one that is an error.
pub(crate) async fn open(url: &str, ctx: Option<&Context>) -> anyhow::Result<Opened> {
    if is_mongodb(url) {
        let store = match ctx {
            Some(ctx) => wait_for(url, ctx).await?,
            None => prepared(url).await?,
        };
        return Ok(Opened { store: Arc::new(Store::Mongo(store.clone())), outbox: Arc::new(store) });
    }
    let registry: Option<&Registry> = ctx.map(|ctx| ctx.metrics.registry());
    let db = Db::open(url, &Options::of(crate::NAME), registry).await?;
    db.migrate(&[bus::MIGRATIONS, MIGRATIONS].concat()).await?;
    Ok(sql(db))
}

/// Opens the store for an audit: nothing is written, and the schema is not migrated.
pub(crate) async fn open_to_read(url: &str) -> anyhow::Result<Arc<Store>> {
    if is_mongodb(url) {
        return Ok(Arc::new(Store::Mongo(MongoStore::new(url).await?)));
    }
    Ok(sql(Db::open(url, &Options::auditor(), None).await?).store)
}

fn is_mongodb(url: &str) -> bool {
    url.starts_with("mongodb://") || url.starts_with("mongodb+srv://")
}

fn sql(db: Db) -> Opened {
    Opened { store: Arc::new(Store::Sql(SqlStore::new(db.clone()))), outbox: Arc::new(SqlOutbox::new(db)) }
}

async fn prepared(url: &str) -> Result<MongoStore, crate::error::MongoError> {
    let store = MongoStore::new(url).await?;
    store.prepare().await?;
    Ok(store)
}

/// Retries until the server is reachable. Other errors are returned at once.
async fn wait_for(url: &str, ctx: &Context) -> anyhow::Result<MongoStore> {
    let outcome = backoff::until_ok("MongoDB", &ctx.shutdown, || async {
        match prepared(url).await {
            Err(failure) if failure.is_unavailable() => Err(failure),
            decided => Ok(decided),
        }
    });
    Ok(outcome.await.ok_or_else(|| anyhow::anyhow!("stopped before MongoDB answered"))??)
}
