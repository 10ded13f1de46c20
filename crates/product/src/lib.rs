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
use bus::{Bus, Relay, SqlOutbox};
use chassis::{App, Context};
use commerce::page::CursorKey;
use db::{Db, Options};

pub use audit::{Facts, ProductFact, audit_facts};
pub use config::Config;
pub use seed::{SeedProduct, seed};

use store::Store;

/// The service's name.
pub const NAME: &str = "product";

/// Where a test may have the process die.
pub const CRASH_POINTS: &[&str] = bus::CRASH_POINTS;

/// What it is built from.
pub struct Deps {
    /// The process around it.
    pub ctx: Context,
    /// Where its events go.
    pub bus: Bus,
}

/// Wires the service.
pub async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
    let Deps { ctx, bus } = deps;
    let verifier = Verifier::new(&config.auth())?.trusting(&config.trusted_issuers)?;
    let db = Db::open(&config.database_url, &Options::of(NAME), Some(ctx.metrics.registry())).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    upkeep::prune(&ctx, &db, store::prunes(&config));
    let store = Store::new(db.clone());
    let api = api::Api {
        store: store.clone(),
        relay: Relay::start(&ctx, Arc::new(SqlOutbox::new(db)), bus),
        cursors: CursorKey::derive(config.internal_key.expose().as_bytes(), "products"),
        currency: config.currency,
        meters: metrics::Meters::new(&ctx.metrics),
    };
    Ok(App {
        http: api::routes(api, verifier),
        grpc: None,
        ready: chassis::ready_if(move || {
            let store = store.clone();
            async move { store.ping().await }
        }),
    })
}

/// Opens what the configuration names, and wires the service.
pub async fn start(config: Config, ctx: Context) -> anyhow::Result<App> {
    let bus = Bus::open(&config.bus_url, &ctx).await?;
    build(config, Deps { ctx, bus }).await
}

/// The schema, in the schema definition language.
pub fn sdl() -> String {
    api::sdl()
}
