//! The catalogue, by GraphQL: products, prices, categories, search.

mod api;
mod audit;
mod config;
mod domain;
mod error;
mod events;
mod metrics;
mod seed;
mod store;

use std::sync::Arc;

use auth::Verifier;
use bus::{Relay, SqlOutbox};
use chassis::App;

pub use audit::{Facts, ProductFact, audit_facts};
use service::{Deps, Service};

pub use config::Config;
pub use seed::{SeedProduct, seed};

use store::Store;

/// The service's name.
pub const NAME: &str = "product";

/// The service, for [`service::main`] and `souk`.
#[derive(Debug)]
pub struct Product;

impl Service for Product {
    const NAME: &'static str = NAME;
    const CRASH_POINTS: &'static [&'static str] = &[];
    type Config = Config;

    async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
        let Deps { ctx, bus } = deps;
        let verifier = Verifier::new(&config.common.auth)?;
        let db = service::open_db(NAME, &config.common.database_url, store::MIGRATIONS, Some(&ctx)).await?;
        bus.check_store(&db, NAME).await?;
        upkeep::prune(&ctx, &db, store::prunes(&config));
        let store = Store::new(db.clone());
        let api = api::Api {
            store: store.clone(),
            relay: Relay::start(&ctx, Arc::new(SqlOutbox::new(db)), bus),
            cursors: config.common.cursor_key("products"),
            currency: config.currency,
            meters: metrics::Meters::new(&ctx.metrics),
        };
        Ok(App {
            http: api::routes(api, verifier, &config),
            grpc: None,
            ready: chassis::ready_if(move || {
                let store = store.clone();
                async move { store.ping().await }
            }),
            callers: chassis::Callers::Services,
        })
    }
}

/// The schema, in the schema definition language.
pub fn sdl() -> String {
    api::sdl()
}
